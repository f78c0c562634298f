"""An aiohttp application on a bounded port: what the operations port is below its routes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from service.listening.connections import Bounds, Connection, Listener

__all__ = ["BoundedServer", "count_requests"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells the connection when it is busy; the first middleware of every application."""
    connection = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin()
    try:
        return await handler(request)
    finally:
        connection.end()


class BoundedServer:
    """Serves one application on one socket."""

    def __init__(self, application: web.Application, bounds: Bounds, *, port: str, **options: Any) -> None:
        """port: its name in the log. options: of aiohttp's `AppRunner`."""
        self._bounds = bounds
        self._port = port
        application.middlewares.insert(0, count_requests)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=bounds.idle,
            logger=_quiet_logger(),
            **options,
        )
        self._listener: Listener | None = None

    async def start(self, bound: socket.socket) -> None:
        """bound: does not listen yet; ours from now on."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - setup makes it

        def protocol() -> asyncio.Protocol:
            return server()

        self._listener = Listener(bound, protocol, self._bounds, port=self._port)
        self._listener.start()

    def stop_accepting(self) -> None:
        """Frees the port; requests that are under way go on."""
        if self._listener is not None:
            self._listener.stop()

    async def close(self) -> None:
        """Closes the port and every connection."""
        self.stop_accepting()
        await self._runner.cleanup()
        if self._listener is not None:
            self._listener.close()


def _quiet_logger() -> logging.Logger:
    """aiohttp's own, but what is no HTTP at all is not worth a traceback for each connection."""
    logger = logging.getLogger("aiohttp.server")
    if not any(isinstance(each, _NotHttp) for each in logger.filters):
        logger.addFilter(_NotHttp())
    return logger


class _NotHttp(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """stdlib's hook."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)
