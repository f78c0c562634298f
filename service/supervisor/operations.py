"""The operations port, in the supervisor: /metrics, /livez, /readyz. Nothing that callers send gets here.

It answers while models load, workers restart and frontends drain; each answer is made in memory at once, so a
client that reads slowly holds nothing but its own connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from service.listening.connections import Bounds
from service.listening.web import BoundedServer
from service.supervisor.memory_limit import nearest_limit
from service.supervisor.pages import Pages
from service.supervisor.ports import open_port

__all__ = ["Operations"]

# Probes, Prometheus, a person or two.
_BOUNDS = Bounds(connections=64, idle=90.0)


class Operations:
    """readiness: the body of /readyz; its `ready` decides the status."""

    def __init__(self, pages: Pages, readiness: Callable[[], dict[str, object]]) -> None:
        self._pages = pages
        self._readiness = readiness
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(pages)
        application = web.Application(client_max_size=0)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        self._server = BoundedServer(application, _BOUNDS, port="ops", shutdown_timeout=0.5)

    async def start(self, address: str) -> str:
        """Listens; `host:port` as it was bound. Raises OptionError where it cannot."""
        bound, name = open_port(address, "ops-address")
        await self._server.start(bound)
        return name

    async def stop(self) -> None:
        """Closes the port and every connection."""
        await self._server.close()

    async def _metrics(self, request: web.Request) -> web.Response:
        memory = nearest_limit()
        self._pages.own.memory.set(memory.used)
        self._pages.own.memory_limit.set(memory.limit)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _livez(self, request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, request: web.Request) -> web.Response:
        body = self._readiness()
        return web.json_response(body, status=200 if body["ready"] else 503, dumps=_dumps)


def _dumps(body: object) -> str:
    return json.dumps(body, indent=1) + "\n"
