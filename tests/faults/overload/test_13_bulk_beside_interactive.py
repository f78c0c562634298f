"""13. A bulk stream beside interactive traffic: its p99 rises by less than 25%, and the stream still moves.

The device takes longer the more a batch holds, by its own measurement, as real ones do: if bulk work filled
the batches, interactive calls would wait for more than twice as long.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from altclip import Client
from tests.faults.harness import service
from tests.load import load
from tests.server import RunningServer, until

SOURCE = "m=stub:dimension=8,service_time=0.2,per_token=0.001"
SECONDS = 2.0
ROUNDS = 5


@contextmanager
def bulk_stream(server: RunningServer) -> Iterator[None]:
    """A stream that always has more to send, from its first answer on."""
    over = threading.Event()
    done: list[int] = []

    def run() -> None:
        texts = (f"bulk text number {number}" for number in itertools.takewhile(more, itertools.count()))
        with Client(server.grpc) as client:
            done.extend(result.index for result in client.embed_stream(texts, window=64))

    def more(_: int) -> bool:
        return not over.is_set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: len(done) > 0, seconds=10, what="the stream moves")
        yield
    finally:
        over.set()
        thread.join(30)


def test_13_interactive_calls_hardly_notice_a_bulk_stream() -> None:
    ratios: list[float] = []
    with service(SOURCE, "--batch-tokens=0") as server:

        def interactive(seed: int) -> tuple[float, float]:
            """The 99th percentile of the latency, and how many bulk items were begun meanwhile."""
            with load(server.grpc, rate=30, seconds=SECONDS, seed=seed) as running:
                before = bulk_items()
                answers = running.answers()
            assert answers.share("OK") == 1.0
            return answers.latency(0.99), bulk_items() - before

        def bulk_items() -> float:
            return server.metric("altclip_queue_wait_seconds_count", priority="bulk")

        for number in range(ROUNDS):
            alone, _ = interactive(number)
            with bulk_stream(server):
                beside, moved = interactive(number)
            ratios.append(beside / alone)
            assert moved > 5, "the stream stands still"
    # The machine may stand still in some of the rounds; the same calls were due in both halves of each.
    assert statistics.median(ratios) < 1.25, ratios
