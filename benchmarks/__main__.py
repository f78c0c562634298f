"""`python -m benchmarks`: takes every measurement, prints one table, writes JSON. `--quick` takes fewer
samples and leaves out what needs the full-size model; `--only PART …` takes some parts.

    part (a process of its own) ─▶ build/benchmarks/PART.json ─▶ one table, build/benchmarks.json

Every figure is a ratio between things measured in turn in one run, because machines are shared and their
speed drifts. Parts that were taken on this machine before stay in the report until they are taken again. A
part that cannot be measured is said to, with the reason.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.peers.clients import PEERS
from benchmarks.pictures import draw
from benchmarks.report import Found, best_peer, machine, read_part, table, write_json, write_part

__all__ = ["main"]

FOLDER = Path("build/benchmarks")
PART_SECONDS = 1800


def _engine(quick: bool) -> Found:
    import benchmarks.engine.cpu as engine  # imports torch

    return Found(engine.rows())


def _int8(quick: bool) -> Found:
    import benchmarks.engine.int8 as int8  # imports torch

    return Found(int8.rows())


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
    "int8": _int8,
    "cuda": _cuda,
    "service": _service,
    "unary": _unary,
    "tracing": _tracing,
    "http": _http,
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
}
FULL_SIZE = (
    "engine",
    "int8",
    "cuda",
    "service",
    "roofline",
    "bulk-full-size",
    *(f"peer-{name}" for name in PEERS),
)


def main() -> int:
    """Exit status 0 whatever the verdicts: a missed bar is a result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer samples; leaves out what needs a full-size model"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the figures go"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    wanted = arguments.only or list(PARTS)
    # Short runs and long ones are never mixed in one report.
    folder = FOLDER / "quick" if arguments.quick else FOLDER
    if arguments.here:
        for name in wanted:
            write_part(folder / f"{name}.json", PARTS[name](arguments.quick))
        return 0

    found: dict[str, Found] = {}
    for name in PARTS:
        path = folder / f"{name}.json"
        if name not in wanted:
            found[name] = read_part(path) or Found(skipped={name: "not asked for"})
        elif arguments.quick and name in FULL_SIZE:
            found[name] = Found(skipped={f"{name}, full size": "left out by --quick"})
        else:
            found[name] = _apart(name, path, arguments.quick)
    rows = [row for part in found.values() for row in part.rows]
    peers = [row for name, part in found.items() if name.startswith("peer-") for row in part.rows]
    rows += best_peer(peers)
    skipped = {what: why for part in found.values() for what, why in part.skipped.items()}
    print(", ".join(f"{key}: {value}" for key, value in machine().items()))
    print(table(rows))
    for what, why in skipped.items():
        print(f"not measured: {what}: {why}")
    write_json(arguments.json, rows, skipped)
    draw(rows, folder)
    return 0


def _apart(name: str, path: Path, quick: bool) -> Found:
    """In a process of its own, so that no part inherits another's threads, memory or end."""
    print(f"measuring: {name}", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks", "--here", "--only", name, *(["--quick"] if quick else [])]
    path.unlink(missing_ok=True)
    try:
        run = subprocess.run(
            command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, timeout=PART_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Found(skipped={name: f"had not ended after {PART_SECONDS} s"})
    if run.returncode:
        sys.stderr.write(run.stderr)
        lines = run.stderr.strip().splitlines()
        return Found(skipped={name: lines[-1] if lines else f"exit status {run.returncode}"})
    return read_part(path) or Found(skipped={name: "gave nothing"})


if __name__ == "__main__":
    sys.exit(main())
