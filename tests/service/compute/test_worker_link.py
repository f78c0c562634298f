"""What a frontend learns of batches from the answers of its workers."""

from __future__ import annotations

import asyncio

import numpy as np

from service.frontend.compute.batches import batches
from service.frontend.compute.flights import Batch, Flight, Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from tests.service.compute.pool_work import tokenised
from tests.workers import Worker, started
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority, Result, Status

COSTS = (10, 10, 10)
"""What a batch may hold."""


class Text(Flight):
    def __init__(self, priority: Priority, tokens: int = 5, token: int = 1) -> None:
        super().__init__(WorkItem(Modality.TEXT, np.full(tokens, token, np.int32)), priority, None)
        self.landed = asyncio.Event()

    def land(self, outcome: Outcome) -> None:
        self.landed.set()


def ended(priority: Priority, *, submitted: float, queue: float, of: int = 1) -> tuple[Flight, Result]:
    """A text of five tokens whose batch began `queue` seconds after it was submitted, and took one."""
    flight = Text(priority)
    flight.submitted = submitted
    return flight, Result(1, queue, 1.0, of, Status.OK)


def test_a_batch_tells_what_of_it_was_bulk_work_and_the_least_that_interactive_work_waited() -> None:
    answers = [
        ended(Priority.INTERACTIVE, submitted=5.0, queue=3.0, of=3),
        ended(Priority.BULK, submitted=1.0, queue=7.0, of=3),
        ended(Priority.INTERACTIVE, submitted=6.0, queue=2.0, of=3),
    ]
    (batch,) = batches(answers, COSTS)
    assert batch == Batch(Modality.TEXT, 3, 3, 1.5, 1.0, 2.0, bulk=1, left=False)


def test_bulk_work_was_left_out_if_it_was_there_when_the_batch_began() -> None:
    answers = [ended(Priority.BULK, submitted=1.0, queue=7.0)]
    assert [batch.left for batch in batches(answers, COSTS, bulk_since=7.9)] == [True]
    assert [batch.left for batch in batches(answers, COSTS, bulk_since=8.1)] == [False]


async def ended_batches(worker: Worker, flights: list[Text], landing: int) -> list[Batch]:
    """Those that have ended once so many of the flights have landed, two of which make a batch."""
    seen: list[Batch] = []
    pool = ModelPool(worker.spec, Metrics.local())
    pool.batch_ended = seen.append
    worker.join(pool)
    pool.start(flights)
    for flight in flights[:landing]:
        await asyncio.wait_for(flight.landed.wait(), 60)
    await asyncio.sleep(0)  # what the last answers tell comes after them
    pool.remove_worker(0)
    return seen


async def test_a_worker_that_cannot_take_all_bulk_work_at_once_leaves_some_until_the_last_batch() -> None:
    with started("m=stub:dimension=8,hang=stop", tokens=154) as worker:
        stop = int(tokenised(worker.spec, "stop")[0][1])
        seen = await ended_batches(worker, [Text(Priority.BULK, tokens=77) for _ in range(6)], 6)
        assert [batch.bulk for batch in seen] == [2, 2, 2]
        assert not seen[-1].left
        # The second batch never ends, so that the third has not begun when the answers of the first are read.
        texts = [Text(Priority.BULK, tokens=77, token=token) for token in (1, 1, stop, 1, 1, 1)]
        (first,) = await ended_batches(worker, texts, 2)
        assert (first.bulk, first.left) == (2, True)
