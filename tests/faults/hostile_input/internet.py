"""A stand-in for the internet: a web server on 127.0.0.1, which only these tests permit, and their own names.

Every connection that Python begins in this process is recorded (`connects`).
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.preprocessing.addresses import Address, Rules, is_public
from service.frontend.preprocessing.dialling import Resolve
from service.frontend.preprocessing.fetching import Fetcher
from tests.service.running import Refused, Running, pictures, running

__all__ = ["LOOPBACK", "MEBIBYTE", "PICTURE", "Internet", "Names", "Origin", "connects", "internet"]

LOOPBACK = ip_address("127.0.0.1")
(PICTURE,) = pictures(1)
MEBIBYTE = 1 << 20

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

_connects: list[str] = []
_recording = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _recording and event == "socket.connect" and isinstance(arguments[1], tuple):
        _connects.append(str(arguments[1][0]))


sys.addaudithook(_audit)


@pytest.fixture
def connects() -> Iterator[list[str]]:
    """The addresses of all connections that Python code began, asyncio's included."""
    global _recording
    _connects.clear()
    _recording = True
    yield _connects
    _recording = False


class Names:
    """A name service. Each look-up takes the next answer of its name; the last one stays."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.lookups: list[str] = []
        self.answers = {name.replace("_", "."): list(answers) for name, answers in names.items()}

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.lookups.append(host)
        answers = self.answers.get(host, [""])
        return [ip_address(each) for each in (answers.pop(0) if len(answers) > 1 else answers[0]).split()]


class Origin:
    """A web server. `pages`: what it does for a path."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.open = self.most_open = self.sent = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            # Cancelled: the loop ends, and a page may still be in its sleep.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    path = head.split()[1].decode()
                    self.asked.append(path)
                    self.headers.append(head.decode())
                    await self.pages[path](writer)
                    await writer.drain()
        finally:
            self.open -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def page(self, path: str, body: bytes, *headers: str, status: str = "200 OK") -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            writer.write("\r\n".join(lines).encode() + body)

        self.pages[path] = answer

    def redirect(self, path: str, location: str, status: str = "302 Found") -> None:
        self.page(path, b"", f"Location: {location}", status=status)

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)


class Internet:
    """A service that fetches, the one host that it may reach, and the names there are."""

    def __init__(self, served: Running, origin: Origin, names: Any, fetcher: Fetcher) -> None:
        self.service, self.origin, self.names, self.fetcher = served, origin, names, fetcher

    def uri(self, path: str = "/cat.png", host: str = "pictures.example") -> str:
        return f"http://{host}:{self.origin.port}{path}"

    async def embed(self, *uris: str, **options: Any) -> Any:
        images = [pb.Image(uri=uri) for uri in uris]
        return await self.service.call("EmbedImage", pb.EmbedImageRequest(images=images), **options)

    async def refusal(self, uri: str) -> Refused:
        with pytest.raises(Refused) as refused:
            await self.embed(uri)
        error = refused.value
        assert error.code == "INVALID_ARGUMENT"
        assert error.paths == ["images[0].uri"]
        return error

    def fetches(self, outcome: str) -> float:
        return self.service.metrics.image_fetches.value(outcome)


@asynccontextmanager
async def internet(
    names: Resolve | None = None,
    *,
    hosts: Sequence[str] = (),
    concurrency: int = 8,
    context: ssl.SSLContext | None = None,
    **limits: Any,
) -> AsyncIterator[Internet]:
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    origin.page("/cat.png", PICTURE)
    names = names or Names(pictures_example=["127.0.0.1"])
    limits = {"most_bytes": MEBIBYTE, "seconds": 60.0, "cache_bytes": 0, **limits}
    async with running() as served:
        fetcher = Fetcher(
            Rules(frozenset({("https" if context else "http", origin.port), ("https", 443)}), tuple(hosts)),
            served.metrics,
            concurrency=concurrency,
            resolve=names,
            permits=lambda address: address == LOOPBACK or is_public(address),
            **limits,
        )
        served.server.core.model("").preprocessor.fetcher = fetcher
        try:
            yield Internet(served, origin, names, fetcher)
        finally:
            await fetcher.close()
            server.close()
            await asyncio.sleep(0)  # connections see their end
