"""One client's connection: uvicorn's HTTP/1.1, and the bounds that it has not.

    accept ─▶ too many? the longest idle one gives way ─▶ TLS ─▶ head ─▶ gateway ─▶ answer ─▶ idle ─▶ …
                                                           │       │                 │         │
              `Connections.check`, once a second, ends it: too slow, too long … not taken … unused

A client that goes away cancels the task that works for it. Bytes that are no HTTP are answered here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

__all__ = ["Connection", "Connections"]

MOST_CONNECTIONS = 1024
"""Of each frontend. Beyond it the one that has been idle for longest is closed, or the new one if none is."""
HEAD_SECONDS = 10.0
"""From the first byte of a request to the end of its headers, and from connecting to the first byte."""
HEAD_BYTES = 64 << 10
"""Of the request line and headers together."""
IDLE_SECONDS = 75.0
"""Longer than the minute after which common load balancers and clients give up an idle connection."""
STALLED_SECONDS = 60.0
"""In which a client takes nothing of an answer that waits for it."""
TLS_SECONDS = 10.0

# What it has to say concerns single requests, and may quote what a stranger sent.
logging.getLogger("uvicorn.error").disabled = True


class Connections:
    """All connections of a frontend. context: for TLS; another one counts from the next connection on."""

    def __init__(self, app: Any, refused: Callable[[int, str], bytes]) -> None:
        """refused: counts a request that is not even HTTP, and gives the answer's bytes."""
        self.context: ssl.SSLContext | None = None
        self.refused = refused
        self.state = ServerState()
        self._config = Config(
            app, http=Connection, loop="none", lifespan="off", ws="none", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, date_header=False, timeout_keep_alive=int(IDLE_SECONDS),
        )  # fmt: skip
        self._config.load()
        self._waiting: set[asyncio.Task[None]] = set()
        self._date_at = 0.0
        self._gone = asyncio.Event()
        self.open: set[Connection] = set()

    def accept(self) -> asyncio.Protocol:
        """What asyncio's server calls for each new connection."""
        made = Connection(self, self._config, self.state)
        return made if self.context is None else _BeforeTls(self, made)

    def encrypt(self, made: Connection, transport: asyncio.Transport) -> None:
        """Shakes hands in a task of its own."""
        made.below = transport
        task = asyncio.create_task(self._encrypt(made, transport))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _encrypt(self, made: Connection, transport: asyncio.Transport) -> None:
        try:
            assert self.context is not None  # noqa: S101 - narrows the type
            encrypted = await asyncio.get_running_loop().start_tls(
                transport, made, self.context, server_side=True, ssl_handshake_timeout=TLS_SECONDS
            )
        except (OSError, asyncio.CancelledError):
            transport.abort()
            self.discard(made)
            return
        if encrypted is not None:
            made.connection_made(encrypted)

    def make_room(self, new: Connection) -> bool:
        """Whether there is room for one more."""
        if len(self.open) >= MOST_CONNECTIONS:
            idle = [each for each in self.open if each.idle]
            if not idle:
                return False
            min(idle, key=lambda each: each.since).abort()
        self.open.add(new)
        return True

    def check(self, now: float) -> None:
        """Ends connections that take too long, and sets the date; to be called once a second."""
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        for each in [*self.open]:
            each.check(now)

    def close_idle(self) -> None:
        """For the drain: those that wait for an answer get it first."""
        for task in self._waiting:
            task.cancel()
        for each in [*self.open]:
            each.shutdown()

    async def closed(self) -> None:
        """Returns once all have ended, after `close_idle`: every client has taken its answer."""
        while self.open:
            self._gone.clear()
            await self._gone.wait()

    def discard(self, gone: Connection) -> None:
        """It has ended."""
        self.open.discard(gone)
        self._gone.set()

    def abort(self) -> None:
        """Ends all, whatever they wait for."""
        for each in [*self.open]:
            each.abort()


class Connection(HttpToolsProtocol):
    """since: when it last began to wait for the client, in time.monotonic() seconds."""

    def __init__(self, connections: Connections, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.task: asyncio.Task[Any] | None = None
        """What works for the client at the moment."""
        self.broken = False
        """What came last is no HTTP; nothing more is read."""
        self.below: asyncio.Transport | None = None
        """What TLS is spoken over."""
        self._link: asyncio.Transport | None = None
        """What is read and written; None before it is encrypted, and at the end."""
        self.since = time.monotonic()
        self._all = connections
        self._head: int | None = None
        """Bytes of the head that has begun and is not complete."""
        self._in_message = False
        self._requests = 0
        self._begun = False
        """Headers came, and their answer is not complete."""
        self._unwritten = 0
        self._written_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing works for the client."""
        return self.task is None and not self._begun

    @property
    def unwritten(self) -> int:
        """Bytes of answers that the client has not taken."""
        return self._link.get_write_buffer_size() if self._link is not None else 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio's hook; with TLS after the handshake."""
        if self not in self._all.open and not self._all.make_room(self):
            transport.abort()
            return
        self._link = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's hook."""
        self._all.discard(self)
        if self._link is None:
            return
        self._link = None
        if self.task is not None:
            self.task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio's hook."""
        if self._link is None or self.broken:
            return
        if not self._in_message:
            self._began(0)
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEAD_BYTES:
            self._refuse(431, "The request's headers are too large.")

    def _began(self, size: int) -> None:
        self._head, self._in_message, self.since = size, True, time.monotonic()

    def on_message_begin(self) -> None:
        """The parser's hook."""
        super().on_message_begin()
        if not self._in_message:  # one after another in the same bytes
            self._began(0)
        self.scope["extensions"] = {"altclip.connection": {"connection": self}}

    def on_headers_complete(self) -> None:
        """The parser's hook."""
        self._head = None
        self._requests += 1
        self._begun = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser's hook."""
        self._in_message, self.since = False, time.monotonic()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook, for what is no HTTP."""
        self._refuse(400, "This is not a valid HTTP request.")

    def _refuse(self, status: int, message: str) -> None:
        self.broken = True
        self.flow.pause_reading()
        if self.idle:
            if not self.transport.is_closing():
                self.transport.write(self._all.refused(status, message))
                self.transport.close()
            return
        # The request before it is answered; one whose body is broken is told so by the gateway.
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def finished(self) -> None:
        """The gateway has answered."""
        self.task, self.since = None, time.monotonic()
        self._begun = bool(self.pipeline)

    def check(self, now: float) -> None:
        """Ends it if the client is too slow."""
        if self._link is None:
            return
        size = self.unwritten
        if size == 0 or size != self._unwritten:
            self._unwritten, self._written_at = size, now
        elif now - self._written_at > STALLED_SECONDS:
            self.abort()
            return
        if self.task is not None:
            return  # the gateway minds the body's pace
        waited = now - self.since
        if self._in_message:
            if waited > (HEAD_SECONDS if self._head is not None else STALLED_SECONDS):
                self.transport.close()
        elif waited > (IDLE_SECONDS if self._requests else HEAD_SECONDS) and size == 0:
            self.transport.close()

    def abort(self) -> None:
        """Ends it at once."""
        for transport in (self._link, self.below):
            if transport is not None:
                transport.abort()


class _BeforeTls(asyncio.Protocol):
    """A connection that is not encrypted yet, and counted already."""

    def __init__(self, connections: Connections, made: Connection) -> None:
        self._all = connections
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's hook."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        if self._all.make_room(self._made):
            self._all.encrypt(self._made, transport)
        else:
            transport.abort()
