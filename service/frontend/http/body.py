"""Reading a request's body: never more than is allowed, never for ever, never held by everyone at once.

Content-Type, Content-Length ─ refused unread ─▶ chunks ─ too large, too slow, too much held ─▶ bytes
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from service.frontend.api.errors import InvalidRequest, QueueFull
from service.frontend.http.errors import BadHttp, ContentTooSlow, PayloadTooLarge, UnsupportedMediaType

__all__ = ["Bodies", "check_type", "content_length", "discard"]

PATIENCE_SECONDS = 20.0
SLOWEST = 16 << 10
"""Bytes a second. A body may take PATIENCE_SECONDS, and one second more for so many bytes of it."""
LINGER_SECONDS = 10.0
"""For which what an early answer leaves unread is thrown away: a client that is still sending when its
connection is closed would not see the answer."""
LINGER_WAITING_SECONDS = 0.5
RETRY_SECONDS = 1.0
COPIES = 2
"""A body, and the strings that are read from it (or the copy that the parser's error holds)."""

Headers = Mapping[str, Sequence[str]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


def content_length(headers: Headers) -> int | None:
    """Of the body; None where it comes in chunks. The parser has refused what is no number."""
    values = headers.get("content-length")
    return int(values[0]) if values else None


def check_type(headers: Headers, body: str, *, untyped: bool = False) -> None:
    """body: "json" or "multipart". untyped: the client need not say it. Raises UnsupportedMediaType."""
    for encoding in headers.get("content-encoding", ()):
        if encoding.strip().lower() not in ("", "identity"):
            raise UnsupportedMediaType("Compressed bodies are not read; send it without Content-Encoding.")
    # A browser sends a page's bytes without a type unasked, but never without the page's origin.
    if untyped and "content-type" not in headers and "origin" not in headers:
        return
    given = headers.get("content-type", [""])[-1]
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    if body == "multipart":
        if kind != "multipart/form-data":
            raise UnsupportedMediaType("Send multipart/form-data.")
        return
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2]
    if charset.partition(";")[0] not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("JSON is read as UTF-8 only.")


class Bodies:
    """All bodies that a frontend holds."""

    def __init__(self, most: int, most_memory: int) -> None:
        """most: bytes of one body. most_memory: of all together, with what is read from them."""
        self._most = most
        self._most_held = max(most, most_memory // COPIES)
        self._held = 0

    async def read(self, headers: Headers, receive: Receive, broken: Callable[[], bool]) -> bytearray:
        """The whole body; `release` must follow with its length. broken: what arrived last is no HTTP.

        Raises PayloadTooLarge before more than that was read, ContentTooSlow, QueueFull or BadHttp.
        """
        self._check(content_length(headers) or 0)
        started = time.monotonic()
        body = bytearray()
        try:
            while True:
                message = await self._next(receive, started + PATIENCE_SECONDS + len(body) / SLOWEST)
                if message.get("more_body") and broken():
                    raise BadHttp("The request's body is not valid HTTP.")
                chunk = message.get("body", b"")
                self._check(len(body) + len(chunk))
                if self._held + len(chunk) > self._most_held:
                    raise QueueFull(retry_after=RETRY_SECONDS)
                self._held += len(chunk)
                body += chunk
                if not message.get("more_body"):
                    return body
        except BaseException:
            self.release(len(body))
            raise

    def hold(self, memory: int, own: int) -> int:
        """Counts the memory that a request takes, where that is more than is counted for its body of `own`
        bytes. Gives what `release` must follow with.

        Raises QueueFull where others hold so much that both would be too much.
        """
        more = max(0, memory // COPIES - own)
        if more and self._held > own and self._held + more > self._most_held:
            raise QueueFull(retry_after=RETRY_SECONDS)
        self._held += more
        return own + more

    def release(self, size: int) -> None:
        """The request is over."""
        self._held -= size

    def _check(self, size: int) -> None:
        if size > self._most:
            raise PayloadTooLarge(f"The request body is larger than {self._most} bytes.")

    async def _next(self, receive: Receive, until: float) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await _message(receive)
        except TimeoutError:
            raise ContentTooSlow from None


async def _message(receive: Receive) -> Mapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        # The connection cancels whoever works for it; in case that came first, or comes later.
        task = asyncio.current_task()
        if task is not None:
            task.cancel()
        await asyncio.sleep(0)
        raise InvalidRequest("The client has gone.")
    return message


async def discard(receive: Receive, broken: Callable[[], bool], *, waiting: bool) -> None:
    """Throws away what is left of a body, for a while. broken: as in `Bodies.read`. waiting: the client asked
    before it would send any."""
    try:
        async with asyncio.timeout(LINGER_WAITING_SECONDS if waiting else LINGER_SECONDS):
            while (await _message(receive)).get("more_body") and not broken():
                pass
    except TimeoutError:
        pass
