"""The HTTP transport: a port, its connections, TLS, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping

import orjson

from service.config import operator_files
from service.frontend.calls.callers import Callers
from service.frontend.core.core import Core
from service.frontend.http.apis import table
from service.frontend.http.errors import BadHttp, openai_error
from service.frontend.http.gateway import Gateway
from service.frontend.http.protocol import BOUNDS, Protocols
from service.frontend.http.service import Service
from service.listening import sockets
from service.listening.connections import Listener
from worker.runtime.metric_labels import OTHER

__all__ = ["HttpTransport", "listen"]


class HttpTransport:
    """An HTTP server that listens; a `Transport` of `frontend/server.py`."""

    name = "http"

    def __init__(self, core: Core, callers: Callers, files: Mapping[str, bytes]) -> None:
        """Listens on `http_address` of the settings. Raises OSError when the address cannot be had."""
        self._service = Service(core, time.time())
        self._files = files
        self._tls: ssl.SSLContext | None = None
        self.file_changed(operator_files.TLS)
        bound, self.address = sockets.bind(core.settings.http_address, shared=True)
        apis = table.chosen(self._service)
        reachable = not sockets.is_loopback(self.address)
        self._gateway = Gateway(self._service, callers, apis, reachable=reachable)
        self._protocols = Protocols(self._gateway, self._refused)
        self._listener = Listener(bound, self._protocols, BOUNDS, port="http", tls=lambda: self._tls)
        self._listener.start()

    def workers_changed(self) -> None:
        """Nobody watches: /readyz looks when it is asked."""

    def file_changed(self, name: str) -> None:
        """New connections get the new certificate."""
        if name != operator_files.TLS:
            return
        if (found := operator_files.certificate(self._service.settings, self._files)) is not None:
            self._tls = found.server_context()
            self._tls.set_alpn_protocols(["http/1.1"])

    def drain(self) -> None:
        """/readyz says no from now on, and every answer closes its connection."""
        self._service.draining = True

    async def stop(self, grace: float) -> None:
        """Takes no more connections and closes those that are idle. Returns when the last client has its
        answer."""
        self._listener.stop()
        self._protocols.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._protocols.closed()

    async def close(self) -> None:
        """Cuts off what is left."""
        tasks = [*self._gateway.active]
        for task in tasks:
            task.cancel()
        self._listener.close()
        self._protocols.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._protocols.closed()

    def _refused(self, status: int, message: str) -> bytes:
        self._gateway.count(OTHER, status, 0.0)
        return not_http(status, message)


async def listen(core: Core, callers: Callers, files: Mapping[str, bytes]) -> HttpTransport:
    """As `Listen` of `frontend/server.py` says. Raises OSError when the address cannot be had."""
    return HttpTransport(core, callers, files)


def not_http(status: int, message: str) -> bytes:
    """An answer to bytes of which no request could be made."""
    _, body = openai_error(BadHttp(message))
    content = orjson.dumps(body)
    head = (
        f"HTTP/1.1 {status} {'Request Header Fields Too Large' if status == 431 else 'Bad Request'}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
