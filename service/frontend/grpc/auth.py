"""API keys over gRPC: where a call carries its key, and strangers who are turned away at the door.

gRPC asks for a method's handler when the headers are there, and reads the message only in that handler. A
call without a valid key is given another one, which ends it at once: a stranger makes the server hold no
message.
Health and reflection are not asked for a key: probes have none, and the API is no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from service.frontend.api.errors import ServiceError
from service.frontend.calls.callers import Callers

__all__ = ["AUTHORIZATION", "Doorkeeper", "Strangers", "authorization"]

AUTHORIZATION = "authorization"

Refuse = Callable[[str, ServiceError], "grpc.RpcMethodHandler[Any, Any]"]


def authorization(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """The one value of that name; None where there is none. Of two none counts: a proxy may have checked the
    other."""
    values = [value for key, value in metadata or () if key == AUTHORIZATION]
    if not values:
        return None
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


class Doorkeeper(grpc.ServiceRpcHandler):
    """The methods of one service, for those who have a key."""

    def __init__(
        self,
        service: str,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        callers: Callers,
        refuse: Refuse,
    ) -> None:
        """handlers: by the method's short name. refuse: makes the handler that tells an error."""
        self._service = service
        self._handlers = {f"/{service}/{name}": (name, handler) for name, handler in handlers.items()}
        self._callers = callers
        self._refuse = refuse

    def service_name(self) -> str:
        """gRPC's hook."""
        return self._service

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """gRPC's hook: who answers this call; None for an unknown method."""
        found = self._handlers.get(details.method)
        if found is None:
            return None
        name, handler = found
        try:
            self._callers.known(authorization(details.invocation_metadata))
        except ServiceError as error:
            return self._refuse(name, error)
        return handler


class Strangers:
    """Calls without a valid key, for a log that they cannot flood."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._count = 0
        self._told = float("-inf")

    def count(self, now: float) -> int:
        """How many there were since the last line, this one included; 0 while it is too early for another."""
        self._count += 1
        if now - self._told < self._interval:
            return 0
        count, self._count, self._told = self._count, 0, now
        return count
