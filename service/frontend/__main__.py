"""A frontend process: `python -m service.frontend DESCRIPTOR`, its end of the supervisor's control channel.

    config, files, begin ──▶ pools, core, transports ──▶ listening ──▶ serve ──▶ drain ──▶ drained, exit 0

It exits with status 1 if the drain cut calls off.

Everything runs on one event loop. The transports are put together here; the supervisor imports none of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.config.operator_files import from_descriptor
from service.config.settings import Settings
from worker import checkpoint
from worker.errors import ModelError
from worker.runtime import gc_tuning, logs, memory
from worker.runtime.control import Channel, Message, adopt, entitle, leave, starting
from worker.runtime.metrics import Layout, Metrics
from worker.spec import ModelInfo, ModelSpec

if TYPE_CHECKING:
    from service.frontend.compute.pool import Pools

__all__ = ["main"]

_log = logs.get("frontend")

_HEARTBEAT_SECONDS = 0.25
_FLUSH_SECONDS = 2.0
"""For the last spans at the end of a drain, within its grace: later the process would be taken for one whose
calls do not end."""
_LEAST_FLUSH_SECONDS = 0.1


def main() -> None:
    """Never returns normally: a frontend ends with `leave`."""
    channel = adopt(int(sys.argv[1]), "altclip-frontend")
    config = channel.receive()
    if config is None:
        leave()
    title = f"altclip-frontend {config.body['index']}"
    entitle(title)
    settings = Settings.from_dict(config.body["settings"])
    logs.configure(settings.log_level, title)
    asyncio.run(_serve(channel, settings, config, _files(channel)))


def _files(channel: Channel) -> dict[str, bytes]:
    """The operator's files, which come before `begin`: the API keys are known before anything is served."""
    files: dict[str, bytes] = {}
    while (message := channel.receive()) is not None and message.type == "file":
        files[message.body["name"]] = from_descriptor(message.descriptors[0], message.body["size"])
    if message is None:
        leave()
    return files


async def _serve(channel: Channel, settings: Settings, config: Message, files: dict[str, bytes]) -> None:
    layout = Layout.from_dict(config.body["metrics"])
    metrics, totals = (Metrics(layout, memory.attach(page)) for page in config.descriptors)
    for page in config.descriptors:
        os.close(page)
    drain: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    with starting(channel, ModelError):  # of a tokenizer, for instance
        from service.frontend import server
        from service.frontend.compute.pool import Pools
        from service.frontend.grpc import server as grpc_transport

        export = None
        if settings.tracing == "on":
            from service.frontend.calls.span_export import open_export  # OpenTelemetry: only where it is used

            export = open_export(settings, config.body["index"], metrics)
        tracing = export.tracing if export is not None else None
        models = [ModelSpec.from_dict(model) for model in config.body["models"]]
        for spec in models:  # their tokenizers must be those of the weights that the workers have
            if sha256 := checkpoint.weights_sha256(spec, read=False):
                channel.send("weights", {"model": spec.name, "sha256": sha256})
        pools = Pools(models, metrics, tracing=tracing)
        control = _Control(channel, pools, drain, files)
        asyncio.get_running_loop().add_reader(channel.fileno(), control.readable)
        _beat(metrics)
        transports: list[server.Listen] = [grpc_transport.listen]
        if settings.http_address:
            from service.frontend.http import server as http_transport  # loaded only where it is used

            transports.append(http_transport.listen)
        running = await server.start(settings, pools, metrics, files, transports, totals, tracing)
    control.changed = running.file_changed
    for name in files:  # one may have come while the transports began to listen
        running.file_changed(name)
    channel.send("listening", running.addresses)
    running.core.decoders.start()
    gc_tuning.freeze_loaded()
    grace = await drain
    until = time.monotonic() + grace
    cut_off = await running.drain(grace)
    if export is not None:
        await export.close(min(_FLUSH_SECONDS, max(_LEAST_FLUSH_SECONDS, until - time.monotonic())))
    channel.send("drained")
    leave(1 if cut_off else 0)


def _beat(metrics: Metrics) -> None:
    """Tells the watchdog at intervals that this event loop runs."""
    metrics.heartbeat.set(time.monotonic())
    asyncio.get_running_loop().call_later(_HEARTBEAT_SECONDS, _beat, metrics)


class _Control:
    """Carries out the supervisor's messages."""

    def __init__(
        self, channel: Channel, pools: Pools, drain: asyncio.Future[float], files: dict[str, bytes]
    ) -> None:
        self.changed: Callable[[str], None] = lambda name: None
        """Called with the name of a file of which `files` holds a new version."""
        self._files = files
        self._channel = channel
        self._pools = pools
        self._drain = drain

    def readable(self) -> None:
        """Reads all messages that have come."""
        try:
            while (message := self._channel.receive(wait=False)) is not None:
                self._obey(message)
        except BlockingIOError:
            return
        except OSError as error:
            # A worker, or a change of the keys, would be missing from now on. A new process is told all.
            _log.error("control_failed", "a message of the supervisor cannot be obeyed", error=error)
        leave()  # also where the supervisor is gone

    def _obey(self, message: Message) -> None:
        body = message.body
        match message.type:
            case "worker":
                (link,) = message.descriptors
                info = ModelInfo.from_dict(body["info"])
                pool = self._pools.get(body["model"])
                pool.add_worker(body["id"], str(body["number"]), body["device"], info, link)
            case "worker_gone":
                self._pools.remove_worker(body["id"])
            case "weights":
                self._pools.get(body["model"]).weights_sha256 = body["sha256"]
            case "file":
                (memory,) = message.descriptors
                self._files[body["name"]] = from_descriptor(memory, body["size"])
                self.changed(body["name"])
            case "drain":
                if not self._drain.done():
                    self._drain.set_result(body["grace"])


if __name__ == "__main__":
    main()
