"""From a frontend's pool through the link to a real worker process and back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from service.frontend.api.errors import DeadlineTooShort, Internal, ModelNotFound, WorkerUnavailable
from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Coalescer, Prepared
from service.frontend.compute.content_cache import ContentCache
from service.frontend.compute.flights import Outcome, WorkItem
from service.frontend.compute.pool import ModelPool, Pools
from service.frontend.core.call_items import CallItems
from service.frontend.preprocessing.preprocessing import Preprocessor
from tests.soak.watching import shared_memory
from tests.workers import Worker, started
from worker.arrays import Floats, Ids
from worker.families import family
from worker.models.sources import resolve
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.notices import Modality, Priority
from worker.runtime.slab import SlabLayout
from worker.spec import ModelSpec


@pytest.fixture(scope="module")
def stub() -> Iterator[Worker]:
    with started("m=stub:dimension=32,state_dimension=16,image_size=32") as worker:
        yield worker


@pytest.fixture
async def pool(stub: Worker) -> AsyncIterator[ModelPool]:
    pool = make(stub.spec)
    stub.join(pool)
    yield pool
    pool.remove_worker(0)


def make(spec: ModelSpec) -> ModelPool:
    return ModelPool(spec, Metrics.local())


NO_PREPROCESSOR = cast(Preprocessor, None)
"""The items here are prepared already."""


def tokenised(spec: ModelSpec, *words: str) -> list[Ids]:
    return [one.ids for one in family(spec.model_type).tokenizer(spec).encode(words)]


def texts(spec: ModelSpec, *words: str) -> list[WorkItem]:
    return [WorkItem(Modality.TEXT, ids) for ids in tokenised(spec, *words)]


def work(
    pool: ModelPool,
    items: list[WorkItem],
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> CallItems:
    """As a call has items computed, all of different contents."""
    coalescer = Coalescer(pool, ContentCache(0), pool._metrics)
    made = CallItems(coalescer, NO_PREPROCESSOR, Call(priority=priority, deadline=deadline), strict=False)
    for item in items:
        (index,) = made.add(item.modality, 1)
        made.compute([Prepared(index, coalescer.key(item.modality, str(index).encode()), item)])
    return made


async def compute(
    pool: ModelPool,
    items: list[WorkItem],
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> Sequence[Outcome]:
    with work(pool, items, priority, deadline) as computed:
        return await asyncio.wait_for(computed.outcomes(), 30)


def counted(pool: ModelPool, outcome: str, modality: str = "text") -> float:
    return pool._metrics.items.value("m", modality, outcome)


def accepted(pool: ModelPool) -> float:
    return pool._metrics.accepted.value("m", "text")


def slots_in_use(pool: ModelPool) -> float:
    return pool._metrics.slots.value("m", "text")


def value(outcome: Outcome) -> Floats:
    assert outcome.error is None
    assert outcome.value is not None
    return outcome.value


def begun(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def wait_until(path: Path, lines: int) -> list[str]:
    """Waits for that many batches to have begun, as the stub wrote them down."""
    for _ in range(1000):
        if len(found := begun(path)) >= lines:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"fewer than {lines} batches began")


async def test_each_kind_of_item_gets_its_own_answer_in_its_place(pool: ModelPool) -> None:
    spec = pool.spec
    encoder = family("stub").load(spec, "cpu", "auto", 1)
    ids = tokenised(spec, "a red cat", "", "two dogs")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    outcomes = await compute(
        pool,
        [
            WorkItem(Modality.TEXT, ids[0]),
            WorkItem(Modality.IMAGE, pixels),
            WorkItem(Modality.PROMPT, ids[2], 1),
            WorkItem(Modality.TEXT, ids[1]),
            WorkItem(Modality.PROMPT, ids[2], 0),
        ],
    )
    np.testing.assert_array_equal(value(outcomes[0]), encoder.text([ids[0]])()[0])
    np.testing.assert_array_equal(value(outcomes[1]), encoder.image([pixels])()[0])
    np.testing.assert_array_equal(value(outcomes[2]), encoder.prompt([ids[2]], [1])()[0])
    np.testing.assert_array_equal(value(outcomes[3]), encoder.text([ids[1]])()[0])
    np.testing.assert_array_equal(value(outcomes[4]), encoder.prompt([ids[2]], [0])()[0])
    assert value(outcomes[2]).shape == (77, 16)
    assert all(outcome.batch_size >= 1 and outcome.queue_seconds >= 0 for outcome in outcomes)


async def test_many_more_items_than_slots_all_come_back_right(pool: ModelPool) -> None:
    slots = SlabLayout.for_model(pool.spec).counts[Modality.TEXT]
    words = [f"word{n} of {n % 7}" for n in range(3 * slots)]
    items = texts(pool.spec, *words)
    encoder = family("stub").load(pool.spec, "cpu", "auto", 1)
    outcomes = await compute(pool, items, Priority.BULK)
    expected = encoder.text(tokenised(pool.spec, *words))()
    np.testing.assert_array_equal(np.stack([value(outcome) for outcome in outcomes]), expected)
    assert max(outcome.batch_size for outcome in outcomes) > 1
    assert counted(pool, "ok") == len(items)


async def test_bulk_work_leaves_slots_for_interactive_work(tmp_path: Path) -> None:
    with started(f"m=stub:dimension=8,service_time=0.3,calls={tmp_path}/calls", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        flood = asyncio.create_task(compute(pool, texts(worker.spec, *["bulk"] * 5000), Priority.BULK))
        await asyncio.sleep(0.1)
        before = time.monotonic()
        outcome = (await compute(pool, texts(worker.spec, "now")))[0]
        # One batch was on the device, the next one is ours: not the 75 that bulk filled before.
        assert time.monotonic() - before < 3
        assert outcome.error is None
        assert not flood.done()
        flood.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flood
        pool.remove_worker(0)


async def test_cancelled_work_never_reaches_the_encoder_and_its_slots_come_back(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with started(f"m=stub:dimension=8,service_time=0.3,calls={calls}", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        warm = len(begun(calls))
        running = asyncio.create_task(compute(pool, texts(worker.spec, "first")))
        await wait_until(calls, warm + 1)
        queued = asyncio.create_task(compute(pool, texts(worker.spec, *["queued"] * 500)))
        await asyncio.sleep(0.05)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        await running
        await compute(pool, texts(worker.spec, "last"))
        batches = begun(calls)[warm:]
        assert batches == ["text 1", "text 1"]
        assert counted(pool, "cancelled") == 500
        (link, _) = pool._workers[0]
        assert link.room(Modality.TEXT, Priority.INTERACTIVE) == SlabLayout.for_model(worker.spec).counts[0]
        pool.remove_worker(0)


async def test_work_whose_deadline_passed_while_it_was_queued_is_not_computed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with started(f"m=stub:dimension=8,service_time=0.4,calls={calls}", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        warm = len(begun(calls))
        running = asyncio.create_task(compute(pool, texts(worker.spec, "first")))
        await wait_until(calls, warm + 1)
        late = await compute(pool, texts(worker.spec, "late"), deadline=time.monotonic() + 0.1)
        assert isinstance(late[0].error, DeadlineTooShort)
        await running
        assert len(begun(calls)) == warm + 1
        assert counted(pool, "cancelled") == 1
        pool.remove_worker(0)


async def test_a_poison_item_fails_alone_and_its_neighbours_are_right() -> None:
    with started("m=stub:dimension=8,poison=venom,service_time=0.05", tokens=2000) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        words = [f"w{n}" for n in range(40)]
        words[17] = "venom"
        outcomes = await compute(pool, texts(worker.spec, *words))
        failed = [n for n, outcome in enumerate(outcomes) if outcome.error is not None]
        assert failed == [17]
        assert isinstance(outcomes[17].error, Internal)
        for n in (0, 16, 18, 39):
            alone = await compute(pool, texts(worker.spec, words[n]))
            np.testing.assert_array_equal(value(outcomes[n]), value(alone[0]))
        assert counted(pool, "failed") == 1
        pool.remove_worker(0)


async def test_a_batch_too_large_for_the_device_is_split_and_batches_become_smaller() -> None:
    with started("m=stub:dimension=8,oom_over=10,service_time=0.02", tokens=2000) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        outcomes = await compute(pool, texts(worker.spec, *["word"] * 600))
        assert all(outcome.error is None for outcome in outcomes)
        assert worker.process.poll() is None
        assert max(outcome.batch_size for outcome in outcomes) <= 10
        pool.remove_worker(0)


async def test_a_killed_worker_fails_what_it_owed_at_once() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        changes: list[bool] = []
        pool._changed = lambda: changes.append(pool.ready)
        worker.join(pool)
        owed = asyncio.create_task(compute(pool, texts(worker.spec, "stop", "go")))
        await asyncio.sleep(0.2)
        os.kill(worker.process.pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(owed, 1)
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
        assert worker.process.wait(5) != 0


async def test_those_who_wait_for_a_slot_are_told_when_the_last_worker_dies() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        waiting = asyncio.create_task(compute(pool, texts(worker.spec, *["stop"] * 3000)))
        await asyncio.sleep(0.2)
        worker.process.kill()
        outcomes = await asyncio.wait_for(waiting, 2)
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


async def test_what_waits_to_be_computed_once_more_is_counted_if_its_caller_goes() -> None:
    # 32 items go to each of two workers; one takes its share with it, and the caller gives up the rest.
    source = "m=stub:dimension=8,hang=stop"
    with started(source) as one, started(source) as two:
        pool = make(one.spec)
        one.join(pool, 1)
        two.join(pool, 2)
        owed = asyncio.create_task(compute(pool, texts(one.spec, *["stop"] * 64)))
        await asyncio.sleep(0.4)
        assert slots_in_use(pool) == 64
        one.process.kill()
        await asyncio.sleep(0.4)
        assert slots_in_use(pool) == 32
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
        worker.process.wait(5)
        await asyncio.sleep(0.2)
        assert set(shared_memory(os.getpid())) == before
        assert kept.value.__traceback__ is not None


async def test_two_frontends_share_a_worker_and_neither_sees_the_others_answers(stub: Worker) -> None:
    pools = [make(stub.spec), make(stub.spec)]
    for pool in pools:
        stub.join(pool)
    words = [[f"a{n}" for n in range(300)], [f"b{n}" for n in range(300)]]
    answers = await asyncio.gather(
        *(compute(p, texts(p.spec, *w)) for p, w in zip(pools, words, strict=True))
    )
    encoder = family("stub").load(stub.spec, "cpu", "auto", 1)
    for said, outcomes in zip(words, answers, strict=True):
        expected = encoder.text(tokenised(stub.spec, *said))()
        np.testing.assert_array_equal(np.stack([value(outcome) for outcome in outcomes]), expected)
    for pool in pools:
        pool.remove_worker(0)


async def test_a_call_is_spread_over_the_workers_of_its_model() -> None:
    with (
        started("m=stub:dimension=8,service_time=0.05") as one,
        started("m=stub:dimension=8,service_time=0.05") as two,
    ):
        pool = make(one.spec)
        one.join(pool, 1)
        two.join(pool, 2)
        await compute(pool, texts(one.spec, *["word"] * 400))
        for worker in (one, two):
            assert worker.metrics.batch_size.value("m", "text") > 0
        pool.remove_worker(1)
        pool.remove_worker(2)


async def test_the_watchdog_is_told_since_when_an_answer_is_owed() -> None:
    with started("m=stub:dimension=8,hang=stop") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        before = time.monotonic()
        owed = asyncio.create_task(compute(pool, texts(worker.spec, "stop")))
        await asyncio.sleep(0.6)
        since = pool._metrics.outstanding_since.value("0")
        assert before <= since <= before + 0.3
        assert worker.metrics.oldest_inflight.value("m", "cpu") == pytest.approx(since)
        worker.process.kill()
        await owed
        assert pool._metrics.outstanding_since.value("0") == 0


def test_a_model_is_found_by_name_and_the_first_is_the_default() -> None:
    specs = [resolve("one=stub:"), resolve("two=stub:")]
    pools = Pools(specs, Metrics.local(Layout(models=("one", "two"), devices=("cpu",))))
    assert pools.get("").spec.name == "one"
    assert pools.get("two").spec.name == "two"
    with pytest.raises(ModelNotFound, match="one, two"):
        pools.get("three")
    assert not pools.ready
