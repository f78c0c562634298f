"""The parts of a run: each is a function that measures, and runs in a process of its own.

To add rows to a part, add them to what its module's `rows` gives; to add a part, a function and a line in
`PARTS`. What a part needs is imported when it runs, so that no part pays for another's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.peers.clients import PEERS
from benchmarks.report import Found

__all__ = ["FULL_SIZE", "PARTS"]


def _engine(quick: bool) -> Found:
    import benchmarks.engine.cpu as engine  # imports torch

    return Found(engine.rows())


def _dtypes(quick: bool) -> Found:
    import benchmarks.engine.dtypes as dtypes  # imports torch

    return dtypes.found()


def _cuda(quick: bool) -> Found:
    import benchmarks.engine.cuda as cuda  # imports torch

    if not cuda.available():
        return Found(skipped={"engine and service on CUDA": "no CUDA device here"})
    return Found(cuda.rows())


def _service(quick: bool) -> Found:
    import benchmarks.service.beside_engine as serving  # imports torch

    return Found(serving.rows())


def _unary(quick: bool) -> Found:
    from benchmarks.service import unary

    return Found(unary.rows(rounds=3 if quick else 5))


def _tracing(quick: bool) -> Found:
    from benchmarks.service import tracing

    return Found(tracing.rows(calls=2000 if quick else 4000, rounds=5 if quick else 9))


def _http(quick: bool) -> Found:
    from benchmarks.service import gateway

    return gateway.found(seconds=1 if quick else 4, rounds=3 if quick else 5)


def _link(quick: bool) -> Found:
    from benchmarks.service import link

    rows, skipped = link.rows(rounds=3 if quick else 5)
    return Found(rows, skipped)


def _stream(quick: bool) -> Found:
    from benchmarks.service import stream

    return Found(stream.rows(items=40_000 if quick else 1_000_000))


def _bulk(quick: bool) -> Found:
    from benchmarks.bulk import jobs

    if quick:
        return Found(jobs.rows(rounds=3, paced=3_000, plain=20_000, million=100_000))
    return Found(jobs.rows())


def _bulk_full_size(quick: bool) -> Found:
    import benchmarks.bulk.full_size as full_size  # imports torch

    return Found(full_size.rows())


def _ray(quick: bool) -> Found:
    from benchmarks.bulk import on_ray

    if not (Path(sys.prefix) / "ray" / ".stamp").exists():
        return Found(skipped={"bulk job on Ray": "Ray is not installed: run make ray"})
    return Found(on_ray.rows(rounds=1 if quick else 3))


def _page(quick: bool) -> Found:
    from benchmarks.service import playground

    missing = "Chromium and Playwright are not installed: run make tools"
    if not (Path(sys.prefix) / "browser" / ".stamp").exists() or not playground.has_chromium():
        return Found(skipped={"the playground's page": missing})
    return Found(playground.rows(rounds=3 if quick else 5))


def _scaling(quick: bool) -> Found:
    from benchmarks.service import scaling

    return Found(scaling.rows(rounds=3 if quick else 5))


def _capacity(quick: bool) -> Found:
    from benchmarks import capacity_check

    return Found(capacity_check.rows(seconds=2 if quick else 10))


def _peer(name: str) -> Callable[[bool], Found]:
    def measure(quick: bool) -> Found:
        import benchmarks.peers.against as against  # imports torch

        return against.peer(name)

    return measure


def _fastest(name: str) -> Callable[[bool], Found]:
    def measure(quick: bool) -> Found:
        import benchmarks.peers.fastest as fastest  # imports torch

        return fastest.peer(name)

    return measure


def _loads(quick: bool) -> Found:
    from benchmarks.service import loads

    why = "takes too long here; its closed loops are measured beside other servers"
    return Found(loads.rows(seconds=2 if quick else 10), {"full-size model under open-loop load": why})


def _overload(quick: bool) -> Found:
    from benchmarks.service import overload

    return Found(overload.rows(seconds=5 if quick else 20))


def _priorities(quick: bool) -> Found:
    from benchmarks.service import priorities

    return Found(priorities.rows(seconds=2, rounds=5) if quick else priorities.rows())


def _roofline(quick: bool) -> Found:
    import benchmarks.engine.roofline as roofline  # imports torch

    return Found(roofline.rows())


def _padding(quick: bool) -> Found:
    from benchmarks.engine import padding

    return Found(padding.rows())


PARTS: Mapping[str, Callable[[bool], Found]] = {
    "engine": _engine,
    "dtypes": _dtypes,
    "cuda": _cuda,
    "service": _service,
    "unary": _unary,
    "tracing": _tracing,
    "http": _http,
    "page": _page,
    "link": _link,
    "stream": _stream,
    "bulk": _bulk,
    "bulk-full-size": _bulk_full_size,
    "scaling": _scaling,
    "ray": _ray,
    "loads": _loads,
    "overload": _overload,
    "priorities": _priorities,
    "padding": _padding,
    "roofline": _roofline,
    "capacity": _capacity,
    **{f"peer-{name}": _peer(name) for name in PEERS},
    **{f"peer-{name}-fastest": _fastest(name) for name in PEERS},
}
FULL_SIZE = (
    "engine",
    "dtypes",
    "cuda",
    "service",
    "roofline",
    "bulk-full-size",
    *(name for name in PARTS if name.startswith("peer-")),
)
