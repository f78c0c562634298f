"""A client that is closed or cancelled while something is under way: nobody waits for ever."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

import altclip
from altclip import AsyncClient, Client
from tests.altclip.fake_service import FakeService, RunningFake
from tests.server import until


def wait_for_call(service: FakeService) -> None:
    until(lambda: service.stream_read, seconds=60, what="the stream has begun")


async def wait_for_method(service: FakeService, method: str) -> None:
    await asyncio.to_thread(until, lambda: method in service.arrived, seconds=60, what=f"{method} was called")


def test_closing_ends_a_stream_of_another_thread(fake: RunningFake, service: FakeService) -> None:
    service.stream_gate.clear()
    client = Client(fake.address)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(client.embed_stream("text" for _ in itertools.count())))
        wait_for_call(service)
        client.close()
        with pytest.raises(altclip.Cancelled):
            reading.result(60)


async def test_closing_ends_a_stream_of_another_task(fake: RunningFake, service: FakeService) -> None:
    service.stream_gate.clear()
    client = AsyncClient(fake.address)

    async def read() -> None:
        async for _ in client.embed_stream("text" for _ in itertools.count()):
            pass

    reading = asyncio.create_task(read())
    await asyncio.to_thread(wait_for_call, service)
    await client.close()
    with pytest.raises(altclip.Cancelled):
        await asyncio.wait_for(reading, 60)


async def test_a_cancelled_task_cancels_its_stream(fake: RunningFake, service: FakeService) -> None:
    service.stream_gate.clear()
    async with AsyncClient(fake.address) as client:

        async def read() -> None:
            async for _ in client.embed_stream("text" for _ in itertools.count()):
                pass

        reading = asyncio.create_task(read())
        await asyncio.to_thread(wait_for_call, service)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        service.stream_gate.set()
        assert await asyncio.to_thread(service.stream_ended.wait, 60)


async def test_a_cancelled_task_stays_cancelled(fake: RunningFake, service: FakeService) -> None:
    async with AsyncClient(fake.address) as client:
        with service.lock:  # the server cannot answer
            calling = asyncio.create_task(client.embed_text("a"))
            await wait_for_method(service, "EmbedText")
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling


async def test_a_call_under_a_closed_client_is_a_typed_error(fake: RunningFake, service: FakeService) -> None:
    client = AsyncClient(fake.address)
    with service.lock:
        calling = asyncio.create_task(client.embed_text("a"))
        await wait_for_method(service, "EmbedText")
        await client.close()
        with pytest.raises(altclip.Cancelled):
            await asyncio.wait_for(calling, 60)
