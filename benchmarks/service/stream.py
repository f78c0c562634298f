"""A stream's memory: what the service's processes hold after a million streamed texts, against after ten
thousand. The encoder is the stub, so that it takes minutes and not days."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from altclip import Client
from benchmarks import inputs
from benchmarks.report import Row
from tests.server import RunningServer, start_server

__all__ = ["rows"]

EARLY, STEPS = 10_000, 10


def rows(items: int = 1_000_000) -> list[Row]:
    """One row: each ratio is one process's memory at one of ten moments over what it held at 10,000 items."""
    texts = inputs.texts(1000, 0)
    held: list[dict[str, int]] = []
    marks = [EARLY, *(EARLY + (items - EARLY) * step // STEPS for step in range(1, STEPS + 1))]

    def endless() -> Iterator[str]:
        for number in range(items):
            yield texts[number % len(texts)]

    with start_server("--model", "m=stub:dimension=768") as server, Client(server.grpc) as client:
        for count, result in enumerate(client.embed_stream(endless(), timeout=3600), start=1):
            assert result.embeddings is not None
            if count == marks[len(held)]:
                held.append(_resident(server))
    assert len(held) == len(marks), "the stream lost items"
    return [
        Row(
            f"resident memory of the service during one stream of {items:,} texts, each of its processes",
            f"after {EARLY:,} of them",
            [later[name] / held[0][name] for later in held[1:] for name in held[0]],
            bar=1.05,
            at_most=True,
            worst=True,
            facts={f"{name}, MB": bytes_ / 1e6 for name, bytes_ in held[-1].items()},
        )
    ]


def _resident(server: RunningServer) -> dict[str, int]:
    found = {"supervisor": psutil.Process(server.pid).memory_info().rss}
    for process in server.processes():
        found[" ".join(process.cmdline()).strip()] = process.memory_info().rss
    return found
