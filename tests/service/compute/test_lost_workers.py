"""Workers that die: what they owed fails at once, is counted once, and leaves no memory behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from service.frontend.api.errors import WorkerUnavailable
from tests.service.compute.pool_work import (
    accepted,
    begun,
    compute,
    counted,
    make,
    slots_in_use,
    texts,
    wait_until,
    work,
)
from tests.service.running import eventually
from tests.soak.watching import shared_memory
from tests.workers import started


async def test_a_killed_worker_fails_what_it_owed_at_once() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        changes: list[bool] = []
        pool._changed = lambda: changes.append(pool.ready)
        worker.join(pool)
        owed = asyncio.create_task(compute(pool, texts(worker.spec, "stop", "go")))
        await asyncio.sleep(0.2)
        os.kill(worker.process.pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(owed, 60)
        assert all(isinstance(outcome.error, WorkerUnavailable) for outcome in outcomes)
        assert changes == [True, False]
        assert counted(pool, "failed") == 2
        more = await compute(pool, texts(worker.spec, "more"))
        assert isinstance(more[0].error, WorkerUnavailable)
        assert counted(pool, "failed") == 3


async def test_a_device_that_is_lost_ends_the_worker() -> None:
    with started("m=stub:dimension=8,lost=gone") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        outcomes = await compute(pool, texts(worker.spec, "gone"))
        assert isinstance(outcomes[0].error, WorkerUnavailable)
        assert worker.process.wait(60) != 0


async def test_those_who_wait_for_a_slot_are_told_when_the_last_worker_dies() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        waiting = asyncio.create_task(compute(pool, texts(worker.spec, *["stop"] * 3000)))
        await asyncio.sleep(0.2)
        worker.process.kill()
        outcomes = await asyncio.wait_for(waiting, 60)
        assert len(outcomes) == 3000
        assert all(isinstance(outcome.error, WorkerUnavailable) for outcome in outcomes)
        assert counted(pool, "failed") == 3000


async def test_what_is_computed_once_more_is_counted_once() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        items = texts(worker.spec, "stop", "go")
        with work(pool, items) as owed:
            await asyncio.sleep(0.2)
            worker.process.kill()
            assert all(isinstance(outcome.error, WorkerUnavailable) for outcome in await owed.outcomes())
            assert counted(pool, "failed") == 0
            owed.retry([0, 1])
            await owed.outcomes()
        assert (accepted(pool), counted(pool, "failed")) == (2, 2)


async def test_what_waits_to_be_computed_once_more_is_counted_if_its_caller_goes(tmp_path: Path) -> None:
    # 32 items go to each of two workers; one takes its share with it, and the caller gives up the rest.
    calls = tmp_path / "calls"
    source = f"m=stub:dimension=8,hang=stop,calls={calls}"
    with started(source) as one, started(source) as two:
        pool = make(one.spec)
        one.join(pool, 1)
        two.join(pool, 2)
        warm = len(begun(calls))
        owed = asyncio.create_task(compute(pool, texts(one.spec, *["stop"] * 64)))
        assert (await wait_until(calls, warm + 2))[warm:] == ["text 32", "text 32"]
        await eventually(lambda: slots_in_use(pool) == 64)
        one.process.kill()
        await eventually(lambda: slots_in_use(pool) == 32)
        owed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owed
        assert (accepted(pool), counted(pool, "cancelled"), counted(pool, "failed")) == (64, 64, 0)
        pool.remove_worker(2)
        assert slots_in_use(pool) == 0


async def test_the_memory_of_a_dead_worker_is_given_back_though_somebody_holds_its_work() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        before = set(shared_memory(os.getpid()))
        pool = make(worker.spec)
        worker.join(pool)
        assert len(set(shared_memory(os.getpid())) - before) == 1
        given_up = asyncio.create_task(compute(pool, texts(worker.spec, "stop")))
        await asyncio.sleep(0.2)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError) as kept:
            await given_up
        worker.process.kill()
        await eventually(lambda: not set(shared_memory(os.getpid())) - before)
        assert kept.value.__traceback__ is not None


async def test_the_watchdog_is_told_since_when_an_answer_is_owed() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        owed = asyncio.create_task(compute(pool, texts(worker.spec, "stop")))
        await eventually(lambda: pool._metrics.outstanding_since.value("0"))
        link, _ = pool._workers[0]
        (flight,) = link._waiting.values()
        assert pool._metrics.outstanding_since.value("0") == flight.submitted
        await eventually(lambda: worker.metrics.oldest_inflight.value("m", "cpu") == flight.submitted)
        worker.process.kill()
        await owed
        assert pool._metrics.outstanding_since.value("0") == 0
