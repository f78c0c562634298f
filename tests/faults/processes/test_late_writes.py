"""A dying worker that writes late meets nobody: not its successor, not the next caller, not a new slot.

There is one slab for each pair of processes, never used again after one of them died; a new link has all its
slots free. Here a worker is stopped in the middle of a batch and replaced, and writes what it has
computed only when its successor has work in the slots of the same numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

from service.frontend.api.errors import WorkerUnavailable
from service.frontend.compute.flights import Flight, Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from tests.faults.harness import computed
from tests.workers import started
from worker.arrays import Floats
from worker.families import family
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority
from worker.spec import ModelSpec

COUNT = 200
"""Items of each batch: as many slots of each slab."""


def items(spec: ModelSpec, name: str) -> list[WorkItem]:
    """Texts that nobody else has."""
    words = [f"{name}{number}" for number in range(COUNT)]
    return [WorkItem(Modality.TEXT, each.ids) for each in family("stub").tokenizer(spec).encode(words)]


def check(spec: ModelSpec, work: Sequence[WorkItem], outcomes: Sequence[Outcome]) -> None:
    """Every item has its own vector."""
    encoder = family("stub").load(spec, "cpu", "auto", 1)
    expected = encoder.text([np.asarray(item.payload, np.int32) for item in work])()
    assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
    found: Floats = np.stack([outcome.value for outcome in outcomes if outcome.value is not None])
    np.testing.assert_array_equal(found, expected)


class Landing(Flight):
    """One whose outcome is awaited."""

    def __init__(self, item: WorkItem) -> None:
        super().__init__(item, Priority.INTERACTIVE, None)
        self.landed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def land(self, outcome: Outcome) -> None:
        self.landed.set_result(outcome)


def compute(pool: ModelPool, work: Sequence[WorkItem]) -> Awaitable[list[Outcome]]:
    """Under way when the loop has turned once."""
    flights = [Landing(item) for item in work]
    pool.start(flights)
    return asyncio.wait_for(asyncio.gather(*(flight.landed for flight in flights)), 30)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process tells, by a file or a page
            await asyncio.sleep(0.01)


def begun(calls: Path) -> int:
    """How many batches; the workers of a test share the file."""
    return len(computed(calls))


def slots_in_use(pool: ModelPool) -> int:
    return sum(link.in_use(Modality.TEXT) for link, _ in pool._workers.values())


async def test_a_dying_workers_late_write_meets_neither_its_successor_nor_new_calls(tmp_path: Path) -> None:
    calls, holds = tmp_path / "calls", [tmp_path / "old", tmp_path / "new"]
    sources = [f"m=stub:dimension=8,hold={hold},calls={calls}" for hold in holds]
    with started(sources[0], tokens=3 * COUNT) as old, started(sources[1], tokens=3 * COUNT) as new:
        for hold in holds:
            hold.touch()
        pool = ModelPool(old.spec, Metrics.local())
        old.join(pool, 1)
        dying = compute(pool, items(old.spec, "a"))
        await eventually(lambda: begun(calls) == 1)
        assert slots_in_use(pool) == COUNT
        psutil.Process(old.process.pid).suspend()
        holds[0].unlink()  # when it goes on, it writes at once
        # Earlier than it can ever be: the supervisor says so when it has buried the process.
        pool.remove_worker(1)
        assert {type(outcome.error) for outcome in await dying} == {WorkerUnavailable}
        new.join(pool, 2)
        assert slots_in_use(pool) == 0

        # One is being computed; those behind it lie unread in slots of the same numbers.
        first, behind = items(new.spec, "b")[:1], items(new.spec, "c")
        blocking = compute(pool, first)
        await eventually(lambda: begun(calls) == 2)
        waiting = compute(pool, behind)
        await asyncio.sleep(0)
        psutil.Process(old.process.pid).resume()
        await eventually(lambda: old.metrics.batch_duration.value("m", "text") == 1)
        assert begun(calls) == 2
        holds[1].unlink()
        check(new.spec, first, await blocking)
        check(new.spec, behind, await waiting)
        assert slots_in_use(pool) == 0

        # It was not harmed by answers that nobody took.
        pool.remove_worker(2)
        old.join(pool, 3)
        again = items(old.spec, "d")
        check(old.spec, again, await compute(pool, again))
        pool.remove_worker(3)


async def test_what_was_computed_for_a_dead_frontend_meets_no_other_one(tmp_path: Path) -> None:
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    with started(f"m=stub:dimension=8,hold={hold},calls={calls}", tokens=3 * COUNT) as worker:
        dead, alive = (ModelPool(worker.spec, Metrics.local()) for _ in range(2))
        worker.join(dead)
        hold.touch()
        lost = compute(dead, items(worker.spec, "a"))
        await eventually(lambda: begun(calls) == 1)
        dead.remove_worker(0)  # closes its end of the link, as the end of a frontend does
        assert {type(outcome.error) for outcome in await lost} == {WorkerUnavailable}
        # The same slots and the same numbers of its notices, while the others are still being computed.
        worker.join(alive)
        work = items(worker.spec, "b")
        running = compute(alive, work)
        assert worker.metrics.batch_duration.value("m", "text") == 0
        hold.unlink()
        check(worker.spec, work, await running)
        assert slots_in_use(alive) == 0
        assert worker.metrics.batch_duration.value("m", "text") == 2
        alive.remove_worker(0)
