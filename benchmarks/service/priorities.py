"""Interactive calls beside a bulk stream, and the same calls alone: what their slowest wait.

The device takes longer the more a batch holds, by its own measurement, as real ones do: if bulk work filled
the batches, interactive calls would wait for more than twice as long.

The first second of the calls does not count. A stream that is alone fills the batches; the calls that end its
being alone wait for such a batch, once, and would be the slowest of any hundred.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.faults.overload.bulk import bulk_stream
from tests.load import load
from tests.server import RunningServer, start_server

__all__ = ["rows"]

SOURCE = "m=stub:dimension=8,service_time=0.2,per_token=0.001"
RATE = 30.0
"""Calls a second, which are due at the same times in both halves of a round."""
SETTLING = 1.0
"""Seconds of them that do not count."""


def rows(seconds: float = 5, rounds: int = 7) -> list[Row]:
    """The 99th percentile beside the stream over that without it, one ratio for each round."""
    moved: list[float] = []
    seeds, same_seeds = itertools.count(), itertools.count()

    def alone() -> float:
        return _interactive(server, seconds, next(seeds))[0]

    def beside() -> float:
        with bulk_stream(server):
            latency, items = _interactive(server, seconds, next(same_seeds))
        moved.append(items / seconds)
        return latency

    def made(alone: Sequence[float], beside: Sequence[float]) -> list[Row]:
        return [
            Row(
                "interactive calls beside a bulk stream, p99",
                "the same calls alone",
                ratios(beside, alone),
                bar=1.25,
                at_most=True,
                facts={"bulk items/s meanwhile": statistics.mean(moved)},
            )
        ]

    with start_server("--model", SOURCE, "--batch-tokens=0") as server:
        return measured(made, alone, beside, rounds=rounds)


def _interactive(server: RunningServer, seconds: float, seed: int) -> tuple[float, float]:
    """The 99th percentile of the latency, and how many bulk items were begun meanwhile."""
    with load(server.grpc, rate=RATE, seconds=SETTLING + seconds, seed=seed) as running:
        time.sleep(SETTLING)
        before = _bulk_items(server)
        answers = running.answers()
    assert answers.share("OK") == 1.0
    return answers.of("OK", since=running.started + SETTLING).latency(0.99), _bulk_items(server) - before


def _bulk_items(server: RunningServer) -> float:
    return server.metric("altclip_queue_wait_seconds_count", priority="bulk")
