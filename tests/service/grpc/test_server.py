"""The server's own settings: connections that age, addresses that cannot be had."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.running import Running, running
from tests.service.streaming import CONFIG, texts


async def test_connections_age_and_nobody_notices() -> None:
    async with running(max_connection_age=0.5) as service:
        until = time.monotonic() + 2.5

        async def calls() -> None:
            while time.monotonic() < until:
                await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"]))
                await asyncio.sleep(0.005)

        await asyncio.gather(*(calls() for _ in range(4)), stream(service, until))


async def stream(service: Running, until: float) -> None:
    """One stream that outlives several ages of its connection."""
    call = service.stream()
    await call.write(CONFIG)
    while time.monotonic() < until:
        await call.write(texts([1]))
        assert len((await call.read()).ids) == 1
        await asyncio.sleep(0.05)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_an_address_that_cannot_be_had_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"203\.0\.113\.1:1"):
        async with running(grpc_address="203.0.113.1:1"):
            pass
