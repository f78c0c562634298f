"""HTTP/1.1 on one connection: uvicorn's protocol, and what it does not do by itself.

    bytes ─▶ head: too large, or no HTTP? answered here ─▶ the gateway, in a task ─▶ answer

- A head that offers another protocol (`Upgrade`) is parsed once more without the offer: httptools skips the
  body of such a request, and would take it for the next one.
- Trailers are counted and dropped: they come when the headers have been judged.
- A client that sends requests without waiting for answers (pipelining) gets so many of them, and no more.
- A client that goes away cancels the task that works for it, as soon as its whole request was read.

`service/listening` bounds the connections: their number, how long a head may take, how long a client may
leave an answer unread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.listening.connections import Bounds, Connection

__all__ = ["BOUNDS", "HttpProtocol", "Protocols"]

HEAD_BYTES = 64 << 10
"""Of the request line, headers and trailers together."""
FIELD_BYTES = 256
"""What a header or a trailer counts for at least: in memory a short one takes twenty times its bytes."""
REFUSALS = {400: "This is not a valid HTTP request.", 431: "The request's headers are too large."}
BOUNDS = Bounds(connections=2048, stalled=60.0)
"""Of each frontend."""
MOST_OWED = 64
"""Requests of one connection that were read and not answered, each of which takes more memory than its bytes.
Whoever sends more at once has to send the rest again, on another connection, as HTTP allows."""
DATE_SECONDS = 1.0

# What it has to say concerns single requests, and may quote what a stranger sent.
logging.getLogger("uvicorn.error").disabled = True


class Protocols:
    """Makes the protocol of each connection, and knows all that are connected."""

    def __init__(self, app: Any, refused: Callable[[int, str], bytes]) -> None:
        """app: the gateway. refused: counts a request that is no HTTP, and gives the answer's bytes."""
        self.refused = refused
        self.state = ServerState()
        self.config = Config(
            app,
            http=HttpProtocol,
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(BOUNDS.idle),
        )
        self.config.load()
        self._none_left = asyncio.Event()
        self._dating = asyncio.create_task(self._date())

    def __call__(self) -> HttpProtocol:
        """For a new connection."""
        return HttpProtocol(self)

    def close_idle(self) -> None:
        """Closes the connections that wait for a request, and the others once they have their answer."""
        for each in [*self.state.connections]:
            each.shutdown()

    async def closed(self) -> None:
        """Returns once no connection is left."""
        while self.state.connections:
            self._none_left.clear()
            await self._none_left.wait()

    def lost(self) -> None:
        """A connection has ended."""
        self._none_left.set()

    def stop(self) -> None:
        """At the very end."""
        self._dating.cancel()

    async def _date(self) -> None:
        """Keeps the Date header, which all answers share."""
        while True:
            self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(DATE_SECONDS)


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, protocols: Protocols) -> None:
        super().__init__(protocols.config, protocols.state, {}, asyncio.get_running_loop())
        self.connected_at = time.monotonic()
        self.task: asyncio.Task[Any] | None = None
        """What works for the client at the moment."""
        self.broken = False
        """What came last is no HTTP; nothing more is read."""
        self._protocols = protocols
        self._bounded: Connection | None = None
        self._in_head = True
        self._size = 0
        """Of the head's and trailers' fields that were parsed."""
        self._unparsed = 0
        """Bytes since a head, a piece of a body or a request last ended; the parser may keep them."""
        self._owed = 0
        """Requests whose headers came and whose answer has not been handed over."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's hook; with TLS after the handshake."""
        super().connection_made(transport)
        self.transport = _Joining(transport)
        found = transport.get_protocol()
        self._bounded = found if isinstance(found, Connection) else None

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """What is written in the block leaves as one: a head and its body, in one system call."""
        assert isinstance(self.transport, _Joining)  # noqa: S101 - set when the connection was made
        self.transport.held = []
        try:
            yield
        finally:
            self.transport.release()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's hook."""
        if self.task is not None:
            self.task.cancel()
        super().connection_lost(exc)
        self._protocols.lost()

    def data_received(self, data: bytes) -> None:
        """asyncio's hook."""
        if self.broken or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(431 if self._size > HEAD_BYTES else 400)
        else:
            if self._unparsed > HEAD_BYTES:
                self._refuse(431)

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                again = self._head_without_offer()
                self.parser = httptools.HttpRequestParser(self)  # the old one may be at the connection's end
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(again)

    def _head_without_offer(self) -> bytes:
        line = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (*line, b"".join(kept))

    def on_message_begin(self) -> None:
        """The parser's hook, as are those below."""
        super().on_message_begin()
        self.scope["extensions"] = {"altclip.protocol": {"protocol": self}}
        self._in_head, self._size = True, 0
        if self._bounded is not None:
            self._bounded.hear()

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(max(FIELD_BYTES, len(name) + len(value) + len(b": \r\n")))
        if self._in_head:
            super().on_header(name, value)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            raise httptools.HttpParserError(REFUSALS[431])

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":  # what follows it is no HTTP
                raise httptools.HttpParserError(REFUSALS[400])
            return  # `_parse` goes on
        if self._owed == MOST_OWED:
            raise httptools.HttpParserError("too many requests wait for their answers")
        super().on_headers_complete()  # may raise: nothing counts as a request before it has returned
        self._in_head, self._unparsed = False, 0
        self._owed += 1
        if self._bounded is not None:
            self._bounded.begin()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._unparsed = 0
            super().on_message_complete()
            if not self.pipeline:
                # A long body stops the reading, and while nothing is read nobody sees that the client goes.
                self.flow.resume_reading()

    def finished(self) -> None:
        """The gateway has answered a request."""
        self.task = None
        # Where the connection ends with this answer, nobody answers the requests behind it.
        ended = self._owed if self.transport.is_closing() else 1
        self._owed -= ended
        if self._bounded is not None:
            for _ in range(ended):
                self._bounded.end()

    def _refuse(self, status: int) -> None:
        self.broken = True
        assert isinstance(self.transport, _Joining)  # noqa: S101 - set when the connection was made
        self.transport.lingers = True
        if self._bounded is not None:
            self._bounded.hear()  # closed soon, whatever it still says
        if self._owed:
            # The request before it is answered; one whose body is broken is told so by the gateway.
            self.flow.pause_reading()
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
        else:
            self.transport.write(self._protocols.refused(status, REFUSALS[status]))
            self.transport.close()


class _Joining(asyncio.Transport):
    """A transport that can keep what is written for a moment, and writes it as one."""

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self.held: list[bytes] | None = None
        self.lingers = False
        """Whether the client may still be sending when the connection is closed. It could lose the answer
        then; so what it sends is read until it has gone, or is overdue."""
        self._below = below
        self._ended = False

    def write(self, data: Any) -> None:
        """As a transport's, as are those below."""
        if self.held is None:
            self._below.write(data)
        else:
            self.held.append(data)

    def release(self) -> None:
        """Writes what was held."""
        held, self.held = self.held, None
        if held:
            self._below.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        if self.lingers and not self._ended and self._below.can_write_eof():  # TLS cannot
            self._ended = True
            self._below.write_eof()
            self._below.resume_reading()
        else:
            self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._ended or self._below.is_closing()
