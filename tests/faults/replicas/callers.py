"""Callers of every kind that go on until they are told to stop, and what each of them saw.

Unary calls and streams are made with this project's clients, blocking and asynchronous, and with grpcio and
the documented service config; requests over HTTP as the SDKs make them: on a kept connection, again after
what `Retry-After` says. A call counts once, however often it was tried.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from altclip import AsyncClient, Client
from altclip.channel import CHANNEL_OPTIONS
from altclip.results import StreamResult
from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.server import until

__all__ = ["Callers", "Http", "Vectors", "calling", "expected_from"]

Vectors: TypeAlias = npt.NDArray[np.float32]

STREAM_ITEMS = 100
TEXTS = 3
"""In each unary call and HTTP request."""
HTTP_TRIES = 5
PAUSE = 0.1
"""Seconds between two calls of a caller: there are to be many kinds of calls, not much load."""


@dataclass
class Callers:
    """What all callers saw.

    ended: calls that ended well, by kind. failures: what the others ended with. items: of the calls that
    ended well. slowest: seconds of the slowest call of each kind. told: answers over HTTP by status, tries
    included.
    """

    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    items: int = 0
    slowest: dict[str, float] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """How many ended well."""
        return self.ended.total()

    def note(self, kind: str, began: float, items: int) -> None:
        """A call ended well."""
        with self._lock:
            self.ended[kind] += 1
            self.items += items
            self.slowest[kind] = max(self.slowest.get(kind, 0.0), time.monotonic() - began)

    def note_failure(self, kind: str, error: BaseException) -> None:
        """A call did not."""
        with self._lock:
            self.failures.append(f"{kind}: {type(error).__name__}: {error}")

    def wait_for_more(self, calls: int, *, seconds: float = 60.0) -> None:
        """Returns when so many further calls of every kind have ended well."""
        before = Counter(self.ended)
        until(
            lambda: all(self.ended[kind] >= before[kind] + calls for kind in before),
            seconds=seconds,
            what=f"{calls} more of each of {dict(before)}; {dict(self.ended)}, {self.failures[:3]}",
        )


def expected_from(address: str) -> Vectors:
    """What every caller must get, from one instance that nothing happens to."""
    with Client(address) as client:
        return client.embed_text(_texts(STREAM_ITEMS)).vectors


@contextmanager
def calling(
    grpc_target: str, http_addresses: list[str], expected: Vectors, *, timeout: float = 60.0
) -> Iterator[Callers]:
    """Callers of every kind. Each has had an answer when the block begins, and has stopped when it ends.

    http_addresses: which the HTTP caller takes by turns when a try fails.
    """
    seen = Callers()
    with (
        Client(grpc_target, timeout=timeout) as client,
        grpc.insecure_channel(grpc_target, CHANNEL_OPTIONS) as channel,
    ):
        stub = EmbeddingServiceStub(channel)

        def unary() -> int:
            got = client.embed_text(_texts(TEXTS)).vectors
            np.testing.assert_allclose(got, expected[:TEXTS], atol=1e-6)
            return TEXTS

        def plain() -> int:
            request = EmbedTextRequest(texts=_texts(TEXTS))
            return stub.EmbedText(request, timeout=timeout).embeddings.count

        def stream() -> int:
            return _check(client.embed_stream(_texts(STREAM_ITEMS), window=16), STREAM_ITEMS, expected)

        def long_stream() -> int:
            return _check(client.embed_stream(_until(seen.stop), window=16), None, expected)

        http = Http(http_addresses, seen.told, timeout)  # of the one thread that uses it

        def over_http() -> int:
            rows = http.embed(_texts(TEXTS))
            np.testing.assert_allclose(rows, expected[:TEXTS], atol=1e-5)
            return TEXTS

        kinds = [
            ("client", unary),
            ("grpcio", plain),
            ("stream", stream),
            ("long stream", long_stream),
            ("http", over_http),
        ]
        threads = [threading.Thread(target=_go_on, args=(seen, *kind)) for kind in kinds]
        threads.append(
            threading.Thread(target=asyncio.run, args=(_go_on_async(seen, grpc_target, timeout, expected),))
        )
        for thread in threads:
            thread.start()
        try:
            wanted = {"client", "grpcio", "stream", "async stream", "http"}
            until(lambda: wanted <= seen.ended.keys(), what="callers of each kind had an answer")
            yield seen
        finally:
            seen.stop.set()
            for thread in threads:
                thread.join(timeout + 30)
            http.close()


class Http:
    """One caller over HTTP, on one kept connection at a time."""

    def __init__(self, addresses: list[str], told: Counter[str], timeout: float = 60.0) -> None:
        self._addresses = addresses
        self._turn = 0
        self._told = told
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def embed(self, texts: list[str]) -> list[list[float]]:
        """The rows. Raises AssertionError where so many tries as an SDK makes did not help."""
        last = ""
        for _ in range(HTTP_TRIES):
            pause = 0.1
            try:
                status, pause, body = self._try(json.dumps({"input": texts}))
                if status == 200:
                    return [row["embedding"] for row in json.loads(body)["data"]]
                last = f"{status} {body[:200]!r}"
                assert status in (429, 503), last
            except (OSError, http.client.HTTPException) as error:
                last = f"{type(error).__name__}: {error}"
                self._told["broken"] += 1
            self._next()
            time.sleep(pause)
        raise AssertionError(f"no answer over HTTP in {HTTP_TRIES} tries, last: {last}")

    def _try(self, body: str) -> tuple[int, float, bytes]:
        if self._connection is None:
            host, _, port = self._addresses[self._turn % len(self._addresses)].rpartition(":")
            self._connection = http.client.HTTPConnection(host, int(port), timeout=self._timeout)
        self._connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        self._told[str(answer.status)] += 1
        if (answer.getheader("connection") or "").lower() == "close":
            self._next()
        return answer.status, int(answer.getheader("retry-after-ms") or 100) / 1000, content

    def close(self) -> None:
        """Closes its connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _next(self) -> None:
        self.close()
        self._turn += 1


def _go_on(seen: Callers, kind: str, call: Callable[[], int]) -> None:
    while not seen.stop.wait(PAUSE):
        began = time.monotonic()
        try:
            seen.note(kind, began, call())
        except BaseException as error:
            seen.note_failure(kind, error)


async def _go_on_async(seen: Callers, target: str, timeout: float, expected: Vectors) -> None:
    async with AsyncClient(target, timeout=timeout) as client:
        while not seen.stop.is_set():
            await asyncio.sleep(PAUSE)
            began = time.monotonic()
            try:
                results = [each async for each in client.embed_stream(_texts(STREAM_ITEMS), window=8)]
                seen.note("async stream", began, _check(results, STREAM_ITEMS, expected))
            except Exception as error:
                seen.note_failure("async stream", error)


def _check(results: Iterable[StreamResult], count: int | None, expected: Vectors) -> int:
    """Each item has exactly one result, and the right one; count: None for a stream of any length."""
    found = [(result.index, result.vector) for result in results]
    indices = [index for index, _ in found]
    assert sorted(indices) == list(range(len(found) if count is None else count))
    rows = expected[np.array(indices) % STREAM_ITEMS]
    np.testing.assert_allclose(np.array([vector for _, vector in found]), rows, atol=1e-6)
    return len(found)


def _texts(count: int) -> list[str]:
    return [f"text number {number}" for number in range(count)]


def _until(stop: threading.Event) -> Iterator[str]:
    """Items without end, until the callers are to stop; some at a time, as a producer has them."""
    while not stop.wait(PAUSE):
        yield from _texts(STREAM_ITEMS)
