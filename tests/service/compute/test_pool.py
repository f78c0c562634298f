"""From a frontend's pool through the link to a real worker process and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.frontend.api.errors import DeadlineTooShort, Internal, ModelNotFound
from service.frontend.compute.flights import Flight, WorkItem
from service.frontend.compute.pool import ModelPool, Pools
from tests.service.compute.pool_work import (
    begun,
    compute,
    counted,
    make,
    texts,
    tokenised,
    value,
    wait_until,
)
from tests.workers import Worker, started
from worker.families import family
from worker.models.sources import resolve
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.notices import Modality, Priority
from worker.runtime.slab import SlabLayout


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
    calls = tmp_path / "calls"
    with started(f"m=stub:dimension=8,service_time=0.3,calls={calls}", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        warm = len(begun(calls))
        flood = asyncio.create_task(compute(pool, texts(worker.spec, *["bulk"] * 5000), Priority.BULK))
        before = len(await wait_until(calls, warm + 1))
        outcome = (await compute(pool, texts(worker.spec, "now")))[0]
        # One batch was on the device, the next one is ours: not the 75 that bulk filled before.
        assert len(begun(calls)) - before < 30
        assert outcome.error is None
        assert not flood.done()
        flood.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flood
        pool.remove_worker(0)


async def test_interactive_work_leaves_slots_for_bulk_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tmp_path / "hold"
    with started(f"m=stub:dimension=8,image_size=32,hold={hold}") as worker:
        pool = make(worker.spec)
        worker.join(pool)
        (link, _) = pool._workers[0]
        submitted: list[Priority] = []
        submit = link.submit

        def noted(flight: Flight) -> None:
            submitted.append(flight.priority)
            submit(flight)

        monkeypatch.setattr(link, "submit", noted)
        slots = SlabLayout.for_model(worker.spec).counts[Modality.IMAGE]
        picture = WorkItem(Modality.IMAGE, np.zeros((32, 32, 3), np.uint8))
        hold.touch()
        interactive = asyncio.create_task(compute(pool, [picture] * (slots + 50)))
        bulk = asyncio.create_task(compute(pool, [picture] * 10, Priority.BULK))
        await asyncio.sleep(0)
        hold.unlink()
        await asyncio.gather(interactive, bulk)
        few = slots // 32
        # Fifty interactive items wait for the slots that come free, and the bulk ones get the first few.
        assert submitted[: slots + few] == [Priority.INTERACTIVE] * slots + [Priority.BULK] * few
        assert len(submitted) == slots + 50 + 10
        pool.remove_worker(0)


async def test_cancelled_work_never_reaches_the_encoder_and_its_slots_come_back(tmp_path: Path) -> None:
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    with started(f"m=stub:dimension=8,hold={hold},calls={calls}", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        warm = len(begun(calls))
        hold.touch()
        running = asyncio.create_task(compute(pool, texts(worker.spec, "first")))
        await wait_until(calls, warm + 1)
        queued = asyncio.create_task(compute(pool, texts(worker.spec, *["queued"] * 500)))
        await asyncio.sleep(0.05)  # some are in the worker's queue by then; all the others in ours
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        hold.unlink()
        await running
        await compute(pool, texts(worker.spec, "last"))
        batches = begun(calls)[warm:]
        assert batches == ["text 1", "text 1"]
        assert counted(pool, "cancelled") == 500
        (link, _) = pool._workers[0]
        assert link.room(Modality.TEXT, Priority.INTERACTIVE) == SlabLayout.for_model(worker.spec).counts[0]
        pool.remove_worker(0)


async def test_work_whose_deadline_passed_while_it_was_queued_is_not_computed(tmp_path: Path) -> None:
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    with started(f"m=stub:dimension=8,hold={hold},calls={calls}", tokens=200) as worker:
        pool = make(worker.spec)
        worker.join(pool)
        warm = len(begun(calls))
        hold.touch()
        running = asyncio.create_task(compute(pool, texts(worker.spec, "first")))
        await wait_until(calls, warm + 1)
        queued = compute(pool, texts(worker.spec, "late"), deadline=time.monotonic() + 0.1)
        late = asyncio.create_task(queued)
        await asyncio.sleep(0.2)
        hold.unlink()
        assert isinstance((await late)[0].error, DeadlineTooShort)
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


def test_a_model_is_found_by_name_and_the_first_is_the_default() -> None:
    specs = [resolve("one=stub:"), resolve("two=stub:")]
    pools = Pools(specs, Metrics.local(Layout(models=("one", "two"), devices=("cpu",))))
    assert pools.get("").spec.name == "one"
    assert pools.get("two").spec.name == "two"
    with pytest.raises(ModelNotFound, match="one, two"):
        pools.get("three")
    assert not pools.ready
