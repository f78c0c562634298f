"""The HTTP transport: a port, its connections, TLS, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Mapping

import orjson

from service.config import operator_files
from service.config.readers import split_address
from service.frontend.calls.callers import Callers
from service.frontend.core.core import Core
from service.frontend.http.apis import table
from service.frontend.http.connections import Connections
from service.frontend.http.errors import BadHttp, openai_error
from service.frontend.http.gateway import Gateway
from service.frontend.http.service import Service
from service.listening import sockets
from worker.runtime.metric_labels import OTHER

__all__ = ["HttpTransport", "listen"]

BACKLOG = 512
CHECK_SECONDS = 1.0


class HttpTransport:
    """An HTTP server that listens; a `Transport` of `frontend/server.py`."""

    name = "http"

    def __init__(
        self,
        address: str,
        service: Service,
        gateway: Gateway,
        connections: Connections,
        server: asyncio.Server,
        files: Mapping[str, bytes],
    ) -> None:
        self.address = address
        self._service = service
        self._gateway = gateway
        self._connections = connections
        self._server = server
        self._files = files
        self._checking = asyncio.create_task(self._check())

    def workers_changed(self) -> None:
        """Nobody watches: /readyz looks when it is asked."""

    def file_changed(self, name: str) -> None:
        """New connections get the new certificate."""
        if name == operator_files.TLS:
            encrypt(self._connections, self._service, self._files)

    def drain(self) -> None:
        """/readyz says no from now on, and every answer closes its connection."""
        self._service.draining = True

    async def stop(self, grace: float) -> None:
        """Takes no more connections and closes those that are idle. Returns when the last request has its
        answer."""
        self._server.close()
        self._connections.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._gateway.active:
                    await asyncio.wait({*self._gateway.active})
                await self._connections.closed()

    async def close(self) -> None:
        """Cuts off what is left."""
        self._server.close()
        self._checking.cancel()
        for task in [*self._gateway.active]:
            task.cancel()
        self._connections.abort()
        await asyncio.gather(self._checking, *self._gateway.active, return_exceptions=True)

    async def _check(self) -> None:
        while True:
            self._connections.check(time.monotonic())
            await asyncio.sleep(CHECK_SECONDS)


async def listen(core: Core, callers: Callers, files: Mapping[str, bytes]) -> HttpTransport:
    """Listens on `http_address` of the settings. Raises OSError when the address cannot be had."""
    service = Service(core, time.time())
    host, _ = split_address(core.settings.http_address)
    gateway = Gateway(service, callers, table.chosen(service), reachable=not is_loopback(host))

    def refused(status: int, message: str) -> bytes:
        gateway.count(OTHER, status, 0.0)
        return not_http(status, message)

    connections = Connections(gateway, refused)
    encrypt(connections, service, files)
    port, address = sockets.bind(core.settings.http_address, shared=True)
    try:
        server = await asyncio.get_running_loop().create_server(
            connections.accept, sock=port, backlog=BACKLOG
        )
    except OSError:
        port.close()
        raise
    return HttpTransport(address, service, gateway, connections, server, files)


def encrypt(connections: Connections, service: Service, files: Mapping[str, bytes]) -> None:
    """Connections from now on use the certificate that there is."""
    if (certificate := operator_files.certificate(service.settings, files)) is not None:
        context = certificate.server_context()
        context.set_alpn_protocols(["http/1.1"])
        connections.context = context


def not_http(status: int, message: str) -> bytes:
    """An answer to bytes of which no request could be made."""
    _, body = openai_error(BadHttp(message))
    content = orjson.dumps(body)
    head = (
        f"HTTP/1.1 {status} {'Request Header Fields Too Large' if status == 431 else 'Bad Request'}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
