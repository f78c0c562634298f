"""The gRPC transport: the services of altclip.v1, health and reflection on one port."""

from __future__ import annotations

import resource
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2

from service.config import operator_files, rpcs
from service.config.settings import Settings
from service.frontend.calls.callers import Callers
from service.frontend.core.core import Core
from service.frontend.grpc import reflection
from service.frontend.grpc.embedding import EmbeddingServicer
from service.frontend.grpc.handlers import Handlers, StreamMethod, UnaryMethod
from service.frontend.grpc.health import SERVICES, Health, add_health
from service.frontend.grpc.models import ModelServicer
from service.frontend.grpc.tls import Credentials

__all__ = ["GrpcTransport", "listen"]


class GrpcTransport:
    """A gRPC server that listens; a `Transport` of `frontend/server.py`."""

    name = "grpc"

    def __init__(
        self,
        server: grpc.aio.Server,
        address: str,
        health: Health,
        settings: Settings,
        files: Mapping[str, bytes],
        tls: Credentials | None,
    ) -> None:
        self.address = address
        self._server = server
        self._health = health
        self._settings = settings
        self._files = files
        self._tls = tls

    def workers_changed(self) -> None:
        """Health tells its watchers."""
        self._health.update()

    def file_changed(self, name: str) -> None:
        """New connections get the new certificate."""
        if name != operator_files.TLS or self._tls is None:
            return
        if (found := operator_files.certificate(self._settings, self._files)) is not None:
            self._tls.change(found)

    def drain(self) -> None:
        """Health says NOT_SERVING from now on, and its watchers end."""
        self._health.drain()

    async def stop(self, grace: float) -> None:
        """Sends GOAWAY on every connection. Returns when the last handler has ended."""
        await self._server.stop(grace)

    async def close(self) -> None:
        """Cancels the handlers that are left."""
        await self._server.stop(0)


async def listen(core: Core, callers: Callers, files: Mapping[str, bytes]) -> GrpcTransport:
    """Listens on `grpc_address` of the settings. Raises OSError when the address cannot be had."""
    settings = core.settings
    health = Health(core.pools)
    handlers = Handlers(core.gate, callers, core.metrics, core.tracing)
    server = grpc.aio.server(options=options(settings))
    methods: dict[str, Mapping[str, UnaryMethod | StreamMethod]] = {
        "EmbeddingService": EmbeddingServicer(core).methods(),
        "ModelService": ModelServicer(core).methods(),
    }
    server.add_generic_rpc_handlers(
        tuple(handlers.service(service, methods[service.name]) for service in rpcs.SERVICES)
    )
    add_health(health, server)
    reflection.add((*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name), server)
    certificate = operator_files.certificate(settings, files)
    tls = Credentials(certificate) if certificate is not None else None
    try:
        if tls is None:
            port = server.add_insecure_port(settings.grpc_address)
        else:
            port = server.add_secure_port(settings.grpc_address, tls.server)
    except RuntimeError:
        raise OSError(f"cannot listen on {settings.grpc_address}") from None
    await server.start()
    host = settings.grpc_address.rpartition(":")[0]
    return GrpcTransport(server, f"{host}:{port}", health, settings, files, tls)


def options(settings: Settings) -> list[tuple[str, int]]:
    """The channel arguments of the server."""
    chosen = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # An answer is as large as its request asks for. How much a client accepts is the client's setting.
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 1),
        # Closes a connection whose client never finishes the handshake; by default after two minutes.
        ("grpc.server_handshake_timeout_ms", 10_000),
        # How much of a stream a client may send before we read it. By default this grows with the measured
        # bandwidth, to tens of megabytes a stream on a busy machine. A longer message still gets its room.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 1 << 20),
        # Finds clients that vanished without closing the connection, so that their calls are cancelled.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),
        # Clients keep idle connections alive; by default the server answers that with "too many pings".
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        # The other half is for HTTP, workers, decoders and fetched images. Without a bound, clients that send
        # nothing could take every descriptor, and the link to a new worker would be lost.
        chosen.append(("grpc.max_allowed_incoming_connections", max(1, soft // 2)))
    if settings.max_connection_age > 0:
        # No limit for the calls that are still on such a connection: a bulk stream may take hours.
        chosen.append(("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)))
    return chosen
