"""API keys over gRPC: where a call carries its key, and how a call without a valid key is refused early.

gRPC asks for a method's handler when the headers have come, and only that handler reads the message. A call
without a valid key gets a handler that ends it at once, so the server holds no message for it.
Health and reflection need no key: probes have none, and the API is no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from service.frontend.api.errors import ServiceError
from service.frontend.calls.lifecycle import Lifecycle

__all__ = ["AUTHORIZATION", "Authenticated", "authorization"]

AUTHORIZATION = "authorization"

Refuse = Callable[[str, ServiceError], "grpc.RpcMethodHandler[Any, Any]"]


def authorization(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """The value of `authorization`; None without one, "" for several: a proxy may have checked another."""
    values = [value for key, value in metadata or () if key == AUTHORIZATION]
    if not values:
        return None
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


class Authenticated(grpc.ServiceRpcHandler):
    """The methods of one service, for callers with a valid key."""

    def __init__(
        self,
        service: str,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        lifecycle: Lifecycle,
        refuse: Refuse,
    ) -> None:
        """handlers: by the method's short name. refuse: makes the handler that answers with an error."""
        self._service = service
        self._handlers = {f"/{service}/{name}": (name, handler) for name, handler in handlers.items()}
        self._lifecycle = lifecycle
        self._refuse = refuse

    def service_name(self) -> str:
        """gRPC's hook."""
        return self._service

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """gRPC's hook: the handler of this call; None for an unknown method."""
        found = self._handlers.get(details.method)
        if found is None:
            return None
        name, handler = found
        try:
            self._lifecycle.known(authorization(details.invocation_metadata))
        except ServiceError as error:
            return self._refuse(name, error)
        return handler
