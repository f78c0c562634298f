"""13. A bulk stream beside interactive traffic: its p99 rises by less than 25%, and the stream still moves.

The device takes longer the more a batch holds, by its own measurement, as real ones do: if bulk work filled
the batches, interactive calls would wait for more than twice as long.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from altclip import Client
from tests.faults.processes import service
from tests.load import Answers, load
from tests.server import RunningServer, until

SOURCE = "m=stub:dimension=8,service_time=0.1,per_token=0.0005"
SECONDS = 2.5
ROUNDS = 3


@contextmanager
def bulk_stream(server: RunningServer) -> Iterator[list[int]]:
    """A stream that always has more to send; the indices of what has come back so far."""
    over = threading.Event()
    done: list[int] = []

    def run() -> None:
        texts = (f"bulk text number {number}" for number in itertools.takewhile(more, itertools.count()))
        with Client(server.grpc) as client:
            done.extend(result.index for result in client.embed_stream(texts, window=256))

    def more(_: int) -> bool:
        return not over.is_set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: len(done) > 0, seconds=10, what="the stream moves")
        yield done
    finally:
        over.set()
        thread.join(30)


def test_13_interactive_calls_hardly_notice_a_bulk_stream() -> None:
    alone: list[Answers] = []
    beside: list[Answers] = []
    with service(SOURCE, "--batch-tokens=0") as server:

        def interactive(seed: int) -> Answers:
            with load(server.grpc, rate=30, seconds=SECONDS, seed=seed) as running:
                return running.answers()

        for number in range(ROUNDS):
            alone.append(interactive(number))
            with bulk_stream(server) as done:
                before = len(done)
                beside.append(interactive(number))
                assert len(done) > before + 10, "the stream stands still"
    without = Answers(itertools.chain(*alone))
    with_bulk = Answers(itertools.chain(*beside))
    assert with_bulk.share("OK") == without.share("OK") == 1.0
    print(f"p99 {without.latency(0.99):.3f} s alone, {with_bulk.latency(0.99):.3f} s beside a stream")
    assert with_bulk.latency(0.99) < 1.25 * without.latency(0.99)
