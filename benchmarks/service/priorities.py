"""Interactive calls beside a bulk stream, and the same calls alone: what their slowest wait.

The device takes longer the more a batch holds, by its own measurement, as real ones do: if bulk work filled
the batches, interactive calls would wait for more than twice as long.
"""

from __future__ import annotations

from benchmarks.report import Row
from tests.faults.overload.bulk import bulk_stream
from tests.load import load
from tests.server import RunningServer, start_server

__all__ = ["rows"]

SOURCE = "m=stub:dimension=8,service_time=0.2,per_token=0.001"
RATE = 30.0
"""Calls a second, which are due at the same times in both halves of a round."""


def rows(seconds: float = 5, rounds: int = 7) -> list[Row]:
    """The 99th percentile beside the stream over that without it, one ratio for each round."""
    ratios, moved = [], 0.0
    with start_server("--model", SOURCE, "--batch-tokens=0") as server:
        for number in range(rounds):
            alone, _ = _interactive(server, seconds, number)
            with bulk_stream(server):
                beside, items = _interactive(server, seconds, number)
            ratios.append(beside / alone)
            moved += items
    return [
        Row(
            "interactive calls beside a bulk stream, p99",
            "the same calls alone",
            ratios,
            bar=1.25,
            at_most=True,
            facts={"bulk items/s meanwhile": moved / rounds / seconds},
        )
    ]


def _interactive(server: RunningServer, seconds: float, seed: int) -> tuple[float, float]:
    """The 99th percentile of the latency, and how many bulk items were begun meanwhile."""
    with load(server.grpc, rate=RATE, seconds=seconds, seed=seed) as running:
        before = _bulk_items(server)
        answers = running.answers()
    assert answers.share("OK") == 1.0
    return answers.latency(0.99), _bulk_items(server) - before


def _bulk_items(server: RunningServer) -> float:
    return server.metric("altclip_queue_wait_seconds_count", priority="bulk")
