"""Whether the server is alive and ready: for probes, load balancers, and clients that ask first."""

from __future__ import annotations

from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]


def api(service: Service) -> Api:
    """The routes."""
    handlers = _Handlers(service)
    return Api(
        "",
        [
            Route("GET", "/healthz", handlers.alive, keyless=True, body=""),
            Route("GET", "/readyz", handlers.ready, keyless=True, body=""),
            Route("GET", "/health", handlers.ready, keyless=True, body=""),
            Route("GET", "/ping", handlers.ping, keyless=True, body=""),
        ],
    )


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def alive(self, request: Request) -> Response:
        return Response.of({"alive": True})

    async def ready(self, request: Request) -> Response:
        """As on the operations port; there the supervisor knows more of each worker."""
        ready = self._service.ready
        models = {pool.spec.name: pool.ready for pool in self._service.core.pools}
        body = {"ready": ready, "draining": self._service.draining, "models": models}
        return Response.of(body, 200 if ready else 503)

    async def ping(self, request: Request) -> Response:
        return Response(b"pong", content_type="text/plain; charset=utf-8")
