"""Shutting down: NOT_SERVING first, nothing admitted is lost, nobody can hold up the exit."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import WorkerUnavailable
from service.frontend.core.stream import Session
from service.frontend.server import LINGER
from tests.service.running import Refused, Running, eventually, health, lingering, release, running
from tests.service.streaming import CONFIG, Answers, texts

TEXT = pb.EmbedTextRequest(texts=["a"])


async def test_admitted_calls_end_and_new_ones_are_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    close_connections = lingering(monkeypatch)
    async with running() as service:
        service.pool.hold = asyncio.Event()
        admitted = asyncio.create_task(service.call("EmbedText", TEXT))
        await eventually(lambda: service.pool.deadlines)
        draining = asyncio.create_task(service.server.drain(60.0))
        await eventually(lambda: service.server.core.gate.closed)
        refused = await service.refusal("EmbedText", TEXT)
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "DRAINING")
        # Whoever is told to come again does not do so in the moment in which connections are closed.
        assert refused.retry_seconds > 2 * LINGER
        assert refused.trailers["grpc-retry-pushback-ms"] == str(round(1000 * refused.retry_seconds))
        close_connections.set()
        await asyncio.sleep(0.3)
        assert not draining.done()
        service.pool.hold.set()
        assert (await admitted).embeddings.count == 1
        assert await asyncio.wait_for(draining, 60) == 0


async def test_health_says_so_before_calls_are_refused() -> None:
    async with running() as service:
        watch = health(service).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        draining = asyncio.create_task(service.server.drain(5.0))
        told = await asyncio.wait_for(watch.read(), 60)
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await draining


async def test_calls_that_do_not_end_are_cut_off_after_the_grace() -> None:
    async with running() as service:
        service.pool.hold = asyncio.Event()
        stuck = asyncio.create_task(service.call("EmbedText", TEXT))
        await eventually(lambda: service.pool.deadlines)
        started = time.monotonic()
        assert await service.server.drain(1.0) == 1
        assert 0.9 < time.monotonic() - started < 60
        with pytest.raises(Refused):
            await stuck


async def test_a_watcher_that_reads_nothing_does_not_hold_the_exit() -> None:
    async with running() as service:
        watch = health(service).Watch(health_pb2.HealthCheckRequest())
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await service.server.drain(600.0)
        assert time.monotonic() - started < 60
        watch.cancel()


async def test_a_stream_gets_all_answers_to_what_was_read_and_then_the_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.frontend.server.STREAMS_SHARE", 0.01)
    async with running() as service:
        service.pool.hold = asyncio.Event()
        call = service.stream()
        await call.write(CONFIG)
        await call.write(texts(range(150)))
        await eventually(lambda: len(service.pool.deadlines) == 3)
        draining = asyncio.create_task(service.server.drain(60.0))
        await service.server.core.gate.last_call.wait()
        service.pool.hold.set()
        messages: list[pb.EmbedStreamResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await take_all(call, messages)
        assert Refused(ended.value).reason == "DRAINING"
        assert len(Answers(messages).rows) == 150
        await draining


async def test_a_stream_that_ends_in_time_does_not_notice() -> None:
    async with running() as service:
        call = service.stream()
        await call.write(CONFIG)
        await call.write(texts([0]))
        await call.read()
        draining = asyncio.create_task(service.server.drain(60.0))
        for number in range(1, 10):
            await asyncio.sleep(LINGER / 4)
            await call.write(texts([number]))
            assert list((await call.read()).ids) == [str(number)]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(draining, 60)


async def take_all(call: Any, messages: list[pb.EmbedStreamResponse]) -> None:
    async for message in call:
        messages.append(message)  # noqa: PERF401 - what came before the error counts


async def test_a_stream_whose_client_has_sent_all_ends_ok() -> None:
    async with running() as service:
        service.pool.hold = asyncio.Event()
        call = service.stream()
        await call.write(CONFIG)
        await call.write(texts(range(150)))
        await call.done_writing()
        await eventually(lambda: len(service.pool.deadlines) == 3)
        draining = asyncio.create_task(service.server.drain(60.0))
        await asyncio.sleep(LINGER * 2)
        service.pool.hold.set()
        assert len(Answers([message async for message in call]).rows) == 150
        assert await call.code() is grpc.StatusCode.OK
        await draining


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams wait for a worker for longer than any test does."""
    monkeypatch.setattr(Session.__init__, "__kwdefaults__", {"patience": 600.0})


@pytest.mark.usefixtures("patient")
async def test_a_stream_that_waits_for_its_first_worker_is_sent_elsewhere_at_once() -> None:
    async with running() as service:
        service.pool.ready = False
        call = service.stream()
        await call.write(CONFIG)
        await eventually(lambda: service.server.core.gate.active)
        draining = asyncio.create_task(service.server.drain(600.0))
        async with asyncio.timeout(60):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
            assert await draining == 0
        assert Refused(ended.value).reason == "DRAINING"


async def doomed(service: Running) -> Any:
    """A stream that has sent all; its ten items will be lost with their worker when `hold` is set."""
    service.pool.hold = asyncio.Event()
    service.pool.fail = lambda item: WorkerUnavailable()
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(10)))
    await call.done_writing()
    await eventually(lambda: service.pool.deadlines)
    return call


async def assert_lost(call: Any, draining: asyncio.Task[int]) -> None:
    async with asyncio.timeout(60):
        answers = Answers([message async for message in call])
        assert await draining == 0
    assert [answers.reason(name) for name in answers.errors] == ["WORKER_UNAVAILABLE"] * 10


@pytest.mark.usefixtures("patient")
async def test_items_whose_worker_dies_during_a_drain_wait_for_no_other() -> None:
    async with running() as service:
        call = await doomed(service)
        draining = asyncio.create_task(service.server.drain(600.0))
        await eventually(lambda: service.server.core.gate.closed)
        service.pool.ready = False
        release(service)
        await assert_lost(call, draining)


@pytest.mark.usefixtures("patient")
async def test_items_that_wait_for_another_worker_wait_no_longer_once_a_drain_begins() -> None:
    async with running() as service:
        call = await doomed(service)
        service.pool.ready = False
        release(service)
        await eventually(lambda: service.pool.computed)
        await assert_lost(call, asyncio.create_task(service.server.drain(600.0)))
