"""From settings to a supervisor that can run: models found, devices chosen, ports reserved."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Sequence

from service.config import readers, rpcs
from service.config.keys import Key
from service.config.options import OptionError
from service.config.settings import Settings
from service.listening import sockets
from service.supervisor import devices, ports
from service.supervisor.file_watch import OperatorFiles
from service.supervisor.pages import Pages
from service.supervisor.roster import WorkerPlace
from service.supervisor.supervisor import Supervisor
from worker.models.sources import model_names, resolve_all
from worker.runtime import logs
from worker.runtime.cores import usable_cores
from worker.runtime.metrics import Layout
from worker.spec import ModelSpec

__all__ = [
    "check_aliases",
    "check_batch_wait",
    "check_tracing",
    "doubts",
    "exposure",
    "places",
    "prepare",
    "useless_keys",
]

OPENTELEMETRY = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc")

_events = logs.get("supervisor")


def prepare(settings: Settings, version: str) -> Supervisor:
    """Raises OptionError or ModelError with what the operator should change. It may have to download."""
    # Opened when there is something to tell; that it is free must be known before a download.
    ports.open_port(settings.ops_address, "ops-address")[0].close()
    grpc, grpc_address = ports.reserve(settings.grpc_address, "grpc-address")
    reserved, http_address = [grpc], ""
    if settings.http_address:
        http, http_address = ports.reserve(settings.http_address, "http-address")
        reserved.append(http)
    check_tracing(settings)
    check_batch_wait(settings)
    files = OperatorFiles(settings)  # before a model may have to be downloaded
    check_aliases(settings, model_names(settings.model))
    models = resolve_all(settings.model)
    keys = files.api_keys()
    chosen = devices.expand(settings.device, functools.cache(devices.cuda_devices))
    workers = places(settings, models, chosen, usable_cores())
    layout = Layout(
        models=tuple(spec.name for spec in models),
        devices=chosen,
        workers=len(workers),
        version=version,
        callers=tuple(dict.fromkeys(key.name for key in keys)),
        methods=rpcs.METHODS,
        codes=rpcs.CODES,
    )
    pages = Pages(layout)
    pages.own.build_info.set(1, version)
    for message in [*doubts(settings), *useless_keys(keys, layout.models)]:
        _events.warning("doubtful_settings", message)
    bound = {"grpc": grpc_address, **({"http": http_address} if http_address else {})}
    if not all(map(sockets.is_loopback, bound.values())):
        for event, message in exposure(settings):
            _events.warning(event, message, **bound)
    chosen_settings = dataclasses.replace(settings, grpc_address=grpc_address, http_address=http_address)
    return Supervisor(chosen_settings, models, workers, pages, reserved, files)


def check_aliases(settings: Settings, names: Sequence[str]) -> None:
    """names: of the models. Raises OptionError where an alias could mean two things, or means nothing."""
    option = "--alias (ALTCLIP_ALIAS)"
    chosen: dict[str, str] = {}
    for alias, name in map(readers.split_alias, settings.alias):
        if alias in names:
            raise OptionError(f"{option}: {alias} is the name of a model; give another alias")
        if name not in names:
            raise OptionError(f"{option}: {alias}={name}: no model is called {name}; give {', '.join(names)}")
        if chosen.setdefault(alias, name) != name:
            raise OptionError(
                f"{option}: {alias} is given for {chosen[alias]} and for {name}; give one of them"
            )


def check_tracing(settings: Settings) -> None:
    """Raises OptionError where tracing is wanted, and what it needs is not installed."""
    if settings.tracing == "on" and not all(map(_is_installed, OPENTELEMETRY)):
        raise OptionError(
            "--tracing (ALTCLIP_TRACING): on needs OpenTelemetry: pip install 'altclip-server[tracing]'"
        )


def check_batch_wait(settings: Settings) -> None:
    """Raises OptionError where a worker that waits for company might be taken for one that hangs."""
    wait, hang = settings.batch_wait, settings.hang_timeout
    if wait >= hang / 2:
        raise OptionError(
            f"--batch-wait (ALTCLIP_BATCH_WAIT): {wait:g} s is too long: a worker that makes no progress is "
            f"replaced after --hang-timeout, {hang:g} s; give less than half of it"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def exposure(settings: Settings) -> list[tuple[str, str]]:
    """What an operator should know whose ports other machines can reach: events and their messages."""
    warnings = []
    if not settings.wants_keys and not settings.tls_client_ca:
        message = "no API keys are set: everyone who reaches the port may call (see --api-keys)"
        warnings.append(("open_to_everyone", message))
    if settings.wants_keys and not settings.tls_certificate:
        message = (
            "API keys travel unencrypted, unless something before the port encrypts (see --tls-certificate)"
        )
        warnings.append(("keys_in_the_clear", message))
    return warnings


def doubts(settings: Settings) -> list[str]:
    """Settings that are accepted together and hardly meant so."""
    found = []
    if settings.image_url_hosts and not settings.image_urls:
        found.append("--image-url-hosts does nothing without --image-urls: no address is fetched")
    if settings.trace_endpoint and settings.tracing == "off":
        found.append("--trace-endpoint does nothing without --tracing on: no call is traced")
    if settings.max_message_bytes <= settings.max_image_bytes:
        found.append(
            "an image of --max-image-bytes does not fit in a message: --max-message-bytes should be larger"
        )
    return found


def useless_keys(keys: Sequence[Key], models: Sequence[str]) -> list[str]:
    """Of each model that is not served and for which there are keys, the first one. An alias is no model."""
    first: dict[str, str] = {}
    for key in keys:
        for name in (key.quota.models or frozenset()).difference(models):
            first.setdefault(name, key.name)
    there = ", ".join(models)
    return [
        f"the API key of {caller} is for {name}, but no model is called so; there are {there}"
        for name, caller in sorted(first.items())
    ]


def places(
    settings: Settings, models: list[ModelSpec], chosen: tuple[str, ...], cores: int
) -> list[WorkerPlace]:
    """A place for each model, device and replica; workers on the CPU share its cores."""
    wanted = [(spec, device) for spec in models for device in chosen for _ in range(settings.replicas)]
    on_cpu = sum(device == "cpu" for _, device in wanted)
    threads = settings.threads or max(1, cores // max(1, on_cpu))
    return [
        WorkerPlace(
            f"altclip-worker {spec.name} {device}", number=number, spec=spec, device=device, threads=threads
        )
        for number, (spec, device) in enumerate(wanted)
    ]
