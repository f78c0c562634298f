"""A port whose clients say nothing, read nothing, or are too many; over real loopback connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from service.listening import sockets
from service.listening.connections import Bounds, Listener
from service.listening.web import BoundedServer
from tests.certificates import make_pair
from tests.service.running import eventually

LARGE = b"x" * (16 << 20)
"""More than the sockets of both ends hold."""


class Port:
    """A bounded port with three answers: a small one, a large one, and one that waits for `released`."""

    def __init__(self, bounds: Bounds) -> None:
        self.waiting = 0
        self.clients: list[Client] = []
        self.released = asyncio.Event()
        self.address = ("", 0)
        application = web.Application()
        application.router.add_get("/small", self._small)
        application.router.add_get("/large", self._large)
        application.router.add_get("/wait", self._wait)
        self.server = BoundedServer(application, bounds, port="test", shutdown_timeout=0.1)

    async def _small(self, request: web.Request) -> web.Response:
        return web.Response(text="small")

    async def _large(self, request: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def _wait(self, request: web.Request) -> web.Response:
        self.waiting += 1
        await self.released.wait()
        return web.Response(text="waited")

    async def get(self, path: str = "/small") -> str:
        """The answer to a request over a connection of its own."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
        return answer.decode().partition("\r\n\r\n")[2]

    async def silent(self) -> Client:
        """A connection on which nothing is said."""
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        return client


class Client:
    """One connection to a port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def closed(self) -> None:
        """Waits until the other end closes it."""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(1 << 16):
                    pass

    @property
    def open(self) -> bool:
        """Whether the end of what comes has not been seen."""
        return not self.reader.at_eof() and self.reader.exception() is None

    async def end(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def opened(**bounds: float) -> AsyncIterator[Port]:
    port = Port(Bounds(**{"connections": 8, **bounds}))  # type: ignore[arg-type]
    bound, address = sockets.bind("127.0.0.1:0")
    await port.server.start(bound)
    port.address = ("127.0.0.1", int(address.rpartition(":")[2]))
    try:
        yield port
    finally:
        port.released.set()
        for client in port.clients:
            await client.end()
        await port.server.close()


async def test_a_new_connection_is_served_while_too_many_stay_silent() -> None:
    async with opened(first_request=600.0) as port:
        clients = [await port.silent() for _ in range(100)]
        assert await port.get() == "small"
        await asyncio.gather(*(client.closed() for client in clients[:92]))
        assert sum(client.open for client in clients[92:]) >= 7


async def test_a_connection_that_is_being_served_is_never_the_one_that_goes() -> None:
    async with opened(connections=4, first_request=600.0) as port:
        answers = [asyncio.create_task(port.get("/wait")) for _ in range(3)]
        await eventually(lambda: port.waiting == 3)
        silent = [await port.silent() for _ in range(10)]
        await asyncio.gather(*(client.closed() for client in silent[:9]))
        port.released.set()
        assert await asyncio.gather(*answers) == ["waited"] * 3


async def test_a_new_one_is_turned_away_where_all_are_being_served() -> None:
    async with opened(connections=2, first_request=600.0) as port:
        answers = [asyncio.create_task(port.get("/wait")) for _ in range(2)]
        await eventually(lambda: port.waiting == 2)
        await (await port.silent()).closed()
        port.released.set()
        assert await asyncio.gather(*answers) == ["waited"] * 2
        assert await port.get() == "small"


@pytest.mark.parametrize("said", [b"", b"GET /sm", b"\x16\x03\x01\x02\x00"])
async def test_who_sends_no_whole_request_is_closed_in_time(said: bytes) -> None:
    async with opened(first_request=1.0) as port:
        client = await port.silent()
        client.writer.write(said)
        await client.closed()


async def test_who_sends_a_header_byte_by_byte_is_closed_in_time() -> None:
    async with opened(first_request=1.0) as port:
        client = await port.silent()
        client.writer.write(b"GET /small HTTP/1.1\r\nX: ")

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    client.writer.write(b"x")
                    await client.writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        await client.closed()
        dripping.cancel()


async def test_a_kept_connection_is_closed_when_it_has_been_idle_for_long() -> None:
    async with opened(idle=1.0) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port.address[1]}/small"
        for _ in range(3):
            async with session.get(url) as response:
                assert await response.text() == "small"
        client = await port.silent()
        client.writer.write(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.closed()


async def test_who_reads_nothing_is_closed_and_who_reads_slowly_is_not() -> None:
    async with opened(stalled=5.0) as port:
        deaf, slow = await port.silent(), await port.silent()
        for client in (deaf, slow):
            client.writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = 0
        while chunk := await slow.reader.read(1 << 20):
            received += len(chunk)
            await asyncio.sleep(0.1)
        assert received > len(LARGE)
        await eventually(lambda: port.server._listener is not None and not port.server._listener._open)
        with contextlib.suppress(ConnectionError):
            assert len(await deaf.reader.read()) < len(LARGE)


class Greeting(asyncio.Protocol):
    """Says something as soon as it may, and ends the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def test_silence_before_tls_is_bounded_as_well(tmp_path: Path) -> None:
    chain, key = make_pair(tmp_path, "server").put(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    trusting = ssl.create_default_context(cafile=str(chain))
    bound, address = sockets.bind("127.0.0.1:0")
    listener = Listener(bound, Greeting, Bounds(connections=8), port="test", tls=lambda: server)
    listener.start()
    to = ("127.0.0.1", int(address.rpartition(":")[2]))
    clients: list[Client] = []
    try:
        clients += [Client(*await asyncio.open_connection(*to)) for _ in range(100)]
        secure = Client(*await asyncio.open_connection(*to, ssl=trusting, server_hostname="localhost"))
        clients.append(secure)
        async with asyncio.timeout(60):
            assert await secure.reader.read() == b"hello"
        await asyncio.gather(*(client.closed() for client in clients[:92]))
    finally:
        for client in clients:
            await client.end()
        listener.close()
        await eventually(lambda: not listener._tasks)


async def test_the_log_tells_of_too_many_once(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as port:
        for _ in range(200):
            await port.silent()
        await port.get()
    assert len([r for r in caplog.records if getattr(r, "event", "") == "connections_limited"]) == 1


async def test_what_is_no_http_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with opened() as port:
        for said in (
            b"\x00" * 64 + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        ):
            client = await port.silent()
            client.writer.write(said + b"\r\n\r\n")
            await client.closed()
    assert [record.getMessage() for record in caplog.records] == []


async def test_the_port_is_free_once_no_more_are_accepted() -> None:
    async with opened() as port:
        answer = asyncio.create_task(port.get("/wait"))
        await eventually(lambda: port.waiting == 1)
        port.server.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(port.address, timeout=5)
        port.released.set()
        assert await answer == "waited"
