"""The gRPC server of one frontend: core, handlers, health and reflection put together, started and drained.

start ─▶ listening …  drain: NOT_SERVING ─▶ new calls get DRAINING ─▶ GOAWAY ─▶ admitted calls end
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from altclip.v1 import embedding_service_pb2, model_service_pb2
from service.config import operator_files as given_files
from service.config.settings import Settings
from service.frontend.calls.callers import Callers
from service.frontend.compute.pool import Pools
from service.frontend.core.core import Core
from service.frontend.grpc.embedding import EmbeddingServicer
from service.frontend.grpc.handlers import Handlers
from service.frontend.grpc.health import SERVICES, Health
from service.frontend.grpc.models import ModelServicer
from service.frontend.grpc.tls import Credentials
from worker.runtime import logs
from worker.runtime.metrics import Metrics

__all__ = ["Server", "start"]

LINGER = 0.2
"""Seconds between refusing calls and closing connections. Calls that reach a connection in the moment it is
closed end CANCELLED, which clients do not retry; refused ones are backing off in that moment."""
STREAMS_SHARE = 0.5
"""Part of the grace in which a stream may go on as if nothing were. One that has not ended by then is read
from no further, gets its answers, and ends with DRAINING: what it did not send yet is for another server."""
LAST_WORDS = 2.0
"""Seconds for answers and trailers to leave after the last handler has ended; then they are cut off."""

_log = logs.get("server")


class Server:
    """A server that listens. `port` is the one that it got."""

    def __init__(
        self,
        server: grpc.aio.Server,
        port: int,
        core: Core,
        health: Health,
        files: Mapping[str, bytes],
        tls: Credentials | None,
    ) -> None:
        self.port = port
        self.core = core
        self.health = health
        self._server = server
        self._files = files
        self._tls = tls

    def file_changed(self, name: str) -> None:
        """One of the operator's files is another now."""
        settings = self.core.settings
        if name == given_files.API_KEYS and (keys := given_files.keyring(settings, self._files)):
            self.core.callers.change(keys)
        found = given_files.certificate(settings, self._files)
        if name == given_files.TLS and found is not None and self._tls is not None:
            self._tls.change(found)

    async def drain(self, grace: float) -> int:
        """Ends once what was admitted has its answer, at the latest after `grace` seconds; how many calls it
        then cut off."""
        cut_off = 0
        until = time.monotonic() + grace
        self.health.drain()
        self.core.gate.close()
        await asyncio.sleep(min(LINGER, grace))
        stopping = asyncio.create_task(self._server.stop(max(0.0, until - time.monotonic())))
        asyncio.get_running_loop().call_later(grace * STREAMS_SHARE, self.core.gate.last_call.set)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                await self.core.gate.idle()
        except TimeoutError:
            cut_off = self.core.gate.active
            _log.warning("drain_incomplete", "calls were cut off", calls=cut_off)
        # A health watcher whose client reads nothing would hold the server for the whole grace.
        await asyncio.wait({stopping}, timeout=min(LAST_WORDS, max(0.1, until - time.monotonic())))
        await self._server.stop(0)
        await stopping
        await self.core.close()
        return cut_off


async def start(
    settings: Settings, pools: Pools, metrics: Metrics, files: Mapping[str, bytes] | None = None
) -> Server:
    """Listens on `settings.grpc_address`. files: the operator's, by name; see `Server.file_changed`.

    Raises OSError when the address cannot be had.
    """
    files = {} if files is None else files  # the same mapping: it changes
    callers = Callers(given_files.keyring(settings, files))
    core = Core(settings, pools, metrics, callers)
    health = Health(pools)

    def changed() -> None:
        health.update()
        core.workers_changed()

    pools.changed = changed
    handlers = Handlers(core.gate, callers, metrics)
    server = grpc.aio.server(options=options(settings))
    embedding = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]
    models = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
    server.add_generic_rpc_handlers(
        (
            handlers.service(embedding, EmbeddingServicer(core).methods()),
            handlers.service(models, ModelServicer(core).methods()),
        )
    )
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    standard = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection((*SERVICES, *standard), server)
    certificate = given_files.certificate(settings, files)
    tls = Credentials(certificate) if certificate is not None else None
    try:
        if tls is None:
            port = server.add_insecure_port(settings.grpc_address)
        else:
            port = server.add_secure_port(settings.grpc_address, tls.server)
    except RuntimeError:
        raise OSError(f"cannot listen on {settings.grpc_address}") from None
    await server.start()
    return Server(server, port, core, health, files, tls)


def options(settings: Settings) -> list[tuple[str, int]]:
    """What gRPC is told."""
    chosen = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # An answer is as large as its request asks for; how much a client takes is the client's setting.
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 1),
        # Who connects and says nothing is let go; by default after two minutes.
        ("grpc.server_handshake_timeout_ms", 10_000),
        # What a client may send of its stream before we read: by default it grows with the measured speed, to
        # tens of megabytes a stream on a busy machine. A longer message still gets all the room it needs.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 1 << 20),
        # Finds peers that vanished without a word, so that their calls are cancelled.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients keep idle connections alive; by default that is answered with "too many pings".
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if settings.max_connection_age > 0:
        # Without a limit for the calls that are still on it: a bulk stream may take hours.
        chosen.append(("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)))
    return chosen
