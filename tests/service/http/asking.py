"""Asks a frontend's real HTTP server on a loopback port; what computes is the stub, in this process.

async with asking(http_max_items=4) as http:
    answer = await http.post("/v1/embeddings", {"input": "cat"})
    answer.status, answer.json["data"]
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.frontend.http.server import HttpTransport
from tests.service.running import Running, pictures, running

__all__ = [
    "HEALTH",
    "KEY",
    "PICTURE",
    "SECRET",
    "Answer",
    "Asking",
    "answered",
    "asking",
    "connected",
    "connections",
    "data_uri",
    "keyed",
    "post_request",
]


@dataclass(frozen=True)
class Answer:
    """What came back. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """Of OpenAI's shape."""
        assert self.status >= 400, self.body[:500]
        assert self.json["detail"] == self.json["error"]["message"]
        return self.json["error"]


@dataclass
class Asking:
    """A server and a session with it."""

    service: Running
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, path, **options) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        """body: JSON, or bytes as they are, said to be JSON."""
        if not isinstance(body, bytes):
            return await self.ask("POST", path, json=body, **options)
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return await self.ask("POST", path, data=body, headers=headers, **options)

    async def embed(self, **body: Any) -> Answer:
        return await self.post("/v1/embeddings", body)

    async def refused(self, **body: Any) -> Any:
        """The error of an embeddings request that must be answered with 400."""
        answer = await self.embed(**body)
        assert answer.status == 400, answer.body[:500]
        return answer.error

    def caller_calls(self, caller: str, code: str) -> float:
        """How many calls of this caller the metrics have counted."""
        return self.service.metrics.caller_requests.value(caller, code)

    def counted(self, route: str, status: int) -> float:
        """How many requests the metrics have counted."""
        return self.service.metrics.http_requests.value(route, str(status))

    async def raw(self, sent: bytes, *, wait: float = 60.0) -> bytes:
        """All that comes back for these bytes on a connection of their own, until the server closes it."""
        host, _, port = self.service.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def asking(*names: str, **settings: Any) -> AsyncIterator[Asking]:
    """A server as `running` makes it, which speaks HTTP too."""
    async with running(*names, **{"http_address": "127.0.0.1:0", **settings}) as service:
        secure = "https" if service.settings.tls_certificate else "http"
        async with aiohttp.ClientSession(f"{secure}://{service.http}") as session:
            yield Asking(service, session)


SECRET = "the-secret-of-search"
KEY = {"authorization": f"Bearer {SECRET}"}


@asynccontextmanager
async def keyed(*limits: str, models: Iterable[str] = ("m",), **settings: Any) -> AsyncIterator[Asking]:
    """A server with one caller, `search`, who sends `KEY`."""
    files = {API_KEYS: line_of("search", SECRET, limits).encode()}
    async with asking(*models, api_keys="/keys", files=files, callers=["search"], **settings) as http:
        yield http


@asynccontextmanager
async def connected(
    http: Asking, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of its own, for bytes."""
    host, _, port = http.service.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), **options)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of one answer."""
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), head, await reader.readexactly(length)


def connections(http: Asking) -> set[Any]:
    """The protocols of all that are open."""
    (transport,) = [each for each in http.service.server._transports if each.name == "http"]
    assert isinstance(transport, HttpTransport)
    return {*transport._protocols.state.connections}


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def post_request(body: bytes, *headers: str, path: str = "/v1/embeddings") -> bytes:
    """As it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


PICTURE = pictures(1)[0]
