"""Accepts connections on one port and keeps them in bounds. Knows nothing of what is said on them.

    accept ─▶ open, idle ─ a request begins ─▶ busy ─ it ends ─▶ idle …
      too many are open        the one that has been idle for longest is closed; if none is, the new one
      no request in time       closed
      the client reads nothing closed, once there has been something to read for so long
      no descriptor is left    as with too many, and accepting pauses for a moment

So a new connection (a probe of the platform, say) is served while others stay silent, the process keeps
descriptors for what it must start, and the log gets one line a minute at most.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from worker.runtime import logs

__all__ = ["Bounds", "Connection", "Listener"]

_log = logs.get("connections")

_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 64
_SWEEP_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_TLS_SECONDS = 10.0
_LOG_SECONDS = 60.0
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times are in seconds.

    connections: open at a time, and never more than a quarter of the descriptors that the process may have.
    first_request: from the connection's begin to the end of a request's header, and from the first byte of a
    later header to its end where the protocol tells of that byte. idle: from an answer to the end of the next
    header. stalled: for which the client has read nothing of what was there for it.
    """

    connections: int
    first_request: float = 10.0
    idle: float = 75.0
    stalled: float = 30.0

    @property
    def most(self) -> int:
        """How many connections may be open now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        quarter = soft // 4 if soft != resource.RLIM_INFINITY else self.connections
        return max(1, min(self.connections, quarter))


class Connection(asyncio.Protocol):
    """One connection, in front of the protocol that serves it. Whoever handles a request calls `begin` when
    its header is there and `end` when its answer was handed over; who sees its first byte, also `hear`."""

    def __init__(
        self, inner: asyncio.Protocol, accepted: socket.socket, closed: Callable[[Connection], None]
    ) -> None:
        """closed: called once it is."""
        self.idle_since = time.monotonic()
        self.hurried = True
        """Whether `first_request` holds, and not `idle`."""
        self._inner = inner
        self._socket = accepted
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._requests = 0
        self._unread = 0
        self._unread_since = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being handled."""
        return self._requests > 0

    def hear(self) -> None:
        """The first byte of a request's header has come."""
        if not self.hurried:
            self.hurried, self.idle_since = True, time.monotonic()

    def begin(self) -> None:
        """A request's header has been read."""
        self._requests += 1
        self.hurried = False

    def end(self) -> None:
        """Its answer has been handed over, though perhaps not yet read."""
        self._requests -= 1
        self.idle_since = time.monotonic()

    def overdue(self, bounds: Bounds, now: float) -> bool:
        """Whether it should be closed; to be asked again and again."""
        unread = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        if unread:
            self.idle_since = now
            return now - self._unread_since > bounds.stalled
        patience = bounds.first_request if self.hurried else bounds.idle
        return not self.busy and now - self.idle_since > patience

    def abort(self) -> None:
        """Closes it at once."""
        if self._transport is not None:
            self._transport.abort()
        else:  # while TLS is negotiated
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's hook, as are those below."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP or TLS
        self._transport = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(self)
        self._inner.connection_lost(exc)


class Listener:
    """Serves every connection to one port with a protocol of its own."""

    def __init__(
        self,
        bound: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        bounds: Bounds,
        *,
        port: str,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        """bound: does not listen yet; ours from now on. port: its name in the log. tls: asked for each
        connection, as certificates change."""
        self._bound = bound
        self._protocol = protocol
        self._bounds = bounds
        self._port = port
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0
        self._told = -_LOG_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._paused: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to accept."""
        self._bound.setblocking(False)
        self._bound.listen(_BACKLOG)
        self._loop.add_reader(self._bound.fileno(), self._accept)
        self._sweep()

    def stop(self) -> None:
        """Accepts no more, and frees the port. Connections that are open stay."""
        if self._bound.fileno() >= 0:
            self._loop.remove_reader(self._bound.fileno())
            self._bound.close()
        if self._paused is not None:
            self._paused.cancel()

    def close(self) -> None:
        """Closes every connection at once as well."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._open):
            connection.abort()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._bound.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._drop(self._longest_idle())
                self._loop.remove_reader(self._bound.fileno())
                self._paused = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            if len(self._open) >= self._bounds.most:
                longest = self._longest_idle()
                self._drop(longest)
                if longest is None:
                    accepted.close()
                    continue
            accepted.setblocking(False)
            connection = Connection(self._protocol(), accepted, self._open.discard)
            self._open.add(connection)
            task = self._loop.create_task(self._serve(connection, accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection, accepted: socket.socket) -> None:
        tls = self._tls()
        patience = {} if tls is None else {"ssl_handshake_timeout": _TLS_SECONDS}
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, **patience)
        except OSError as error:  # the client is gone, speaks no TLS, or is not let in
            self._open.discard(connection)
            _log.debug("connection_failed", port=self._port, reason=type(error).__name__)

    def _resume(self) -> None:
        self._paused = None
        if self._bound.fileno() >= 0:
            self._loop.add_reader(self._bound.fileno(), self._accept)

    def _longest_idle(self) -> Connection | None:
        idle = (connection for connection in self._open if not connection.busy)
        return min(idle, key=lambda connection: connection.idle_since, default=None)

    def _drop(self, connection: Connection | None) -> None:
        """None: a new one is turned away."""
        if connection is not None:
            self._open.discard(connection)
            connection.abort()
        self._dropped += 1
        if (now := time.monotonic()) - self._told >= _LOG_SECONDS:
            message = "too many connections: the one that was idle for longest was closed, or a new one"
            _log.warning(
                "connections_limited", message, port=self._port, open=len(self._open), dropped=self._dropped
            )
            self._told, self._dropped = now, 0

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._open if each.overdue(self._bounds, now)]:
            connection.abort()
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
