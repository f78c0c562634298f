"""The standard grpc.health.v1: SERVING while the models have workers, otherwise NOT_SERVING, as in a drain.

    ""  altclip.v1.EmbeddingService  altclip.v1.ModelService     SERVING when every model is ready
    altclip.v1.EmbeddingService/MODEL                            the state of one model

Watchers end when the server drains, so that none of them delays its exit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from service.config import rpcs
from service.frontend.compute.pool import Pools

__all__ = ["SERVICES", "Health", "add_health"]

EMBEDDING = "altclip.v1.EmbeddingService"
SERVICES = tuple(service.full_name for service in rpcs.SERVICES)

_SERVING, _NOT_SERVING, _UNKNOWN = (
    pb.HealthCheckResponse.SERVING,
    pb.HealthCheckResponse.NOT_SERVING,
    pb.HealthCheckResponse.SERVICE_UNKNOWN,
)


class Health(health_pb2_grpc.HealthServicer):
    """Answers from the state of the pools; `update` wakes the watchers after a change."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._draining = False
        self._changed = asyncio.Event()

    def update(self) -> None:
        """The readiness of some model may have changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Says NOT_SERVING from now on. Watchers are told so, and end."""
        self._draining = True
        self.update()

    def statuses(self) -> dict[str, int]:
        """The state of every service, by its name."""
        ready = dict.fromkeys(("", *SERVICES), self._pools.ready)
        ready.update({f"{EMBEDDING}/{pool.spec.name}": pool.ready for pool in self._pools})
        return {
            name: _SERVING if state and not self._draining else _NOT_SERVING for name, state in ready.items()
        }

    async def Check(  # noqa: N802 - the name in the generated base class
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.HealthCheckResponse:
        status = self.statuses().get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return pb.HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        statuses = self.statuses()
        response: Any = pb.HealthListResponse  # type: ignore[attr-defined]  # types-grpcio has no List yet
        return response(
            statuses={name: pb.HealthCheckResponse(status=status) for name, status in statuses.items()}
        )

    async def Watch(  # noqa: N802
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        last: int | None = None
        while True:
            changed = self._changed
            status = self.statuses().get(request.service, _UNKNOWN)
            if status != last:
                last = status
                yield pb.HealthCheckResponse(status=status)
            elif self._draining:
                return
            else:
                await changed.wait()


def add_health(health: Health, server: grpc.aio.Server) -> None:
    """Has the server tell its health.

    The generated function would also register each method by its name. For every call of any method, grpc.aio
    then sets up its wait for the next call once more for each of them.
    """
    check, answer = pb.HealthCheckRequest.FromString, pb.HealthCheckResponse.SerializeToString
    messages: Any = pb  # types-grpcio has no List yet
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Check": grpc.unary_unary_rpc_method_handler(health.Check, check, answer),
        "List": grpc.unary_unary_rpc_method_handler(
            health.List,
            messages.HealthListRequest.FromString,
            messages.HealthListResponse.SerializeToString,
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(health.Watch, check, answer),
    }
    service = pb.DESCRIPTOR.services_by_name["Health"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
