"""A stream whose workers are not there yet, die, or fail on an item."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from service.frontend.api.errors import Internal, WorkerUnavailable
from service.frontend.compute.flights import WorkItem
from service.frontend.core import stream as stream_module
from tests.service.running import Refused, Running, eventually
from tests.service.streaming import CONFIG, Answers, run, texts


async def test_a_stream_waits_for_the_first_worker(service: Running) -> None:
    service.pool.ready = False
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts([1]))
    await call.done_writing()
    await asyncio.sleep(0.1)
    service.pool.ready = True
    assert len(Answers([message async for message in call]).rows) == 1


async def test_a_stream_that_no_worker_comes_for_is_unavailable(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module.Session.__init__, "__kwdefaults__", {"patience": 0.1})
    service.pool.ready = False
    with pytest.raises(Refused) as refused:
        await run(service, CONFIG, half_close=False)
    assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")


async def test_items_of_a_dead_worker_are_computed_by_the_next(service: Running) -> None:
    pool = service.pool

    def die(item: WorkItem) -> WorkerUnavailable:
        pool.ready = False
        return WorkerUnavailable()

    async def revive() -> None:
        await eventually(lambda: not pool.ready)
        await asyncio.sleep(0.2)
        pool.fail = lambda item: None
        pool.ready = True

    pool.fail = die
    reviving = asyncio.create_task(revive())
    answers = await run(service, CONFIG, texts(range(300)))
    await reviving
    assert len(answers.rows) == 300


async def test_items_fail_when_no_worker_comes_back(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module.Session.__init__, "__kwdefaults__", {"patience": 0.1})
    service.pool.hold = asyncio.Event()
    service.pool.fail = lambda item: WorkerUnavailable()
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(10)))
    await eventually(lambda: service.pool.deadlines)
    service.pool.ready = False
    service.pool.hold.set()
    await call.done_writing()
    answers = Answers([message async for message in call])
    assert {answers.reason(name) for name in answers.errors} == {"WORKER_UNAVAILABLE"}
    assert len(answers.errors) == 10
    assert await call.code() is grpc.StatusCode.OK


async def test_an_item_that_breaks_the_encoder_fails_alone(service: Running) -> None:
    poison = service.server.core.model("").preprocessor
    (tokens,) = await poison.tokens(["text 7"])
    service.pool.fail = lambda item: Internal() if item.payload.tobytes() == tokens.ids.tobytes() else None
    answers = await run(service, CONFIG, texts(range(20)))
    assert len(answers.rows) == 19
    assert answers.reason("7") == "INTERNAL"
