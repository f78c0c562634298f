"""From settings to a supervisor that can run: models found, devices chosen, port reserved. No process yet."""

from __future__ import annotations

import dataclasses
import functools

from service.config.operator_files import GivenFiles, wants_keys
from service.config.settings import Settings
from service.supervisor import devices, ports
from service.supervisor.pages import Pages
from service.supervisor.roster import WorkerPlace
from service.supervisor.supervisor import Supervisor
from worker.models.sources import resolve_all
from worker.runtime import logs
from worker.runtime.cores import usable_cores
from worker.runtime.metrics import Layout
from worker.spec import ModelSpec

__all__ = ["doubts", "exposure", "places", "prepare", "specs"]

_events = logs.get("supervisor")


def prepare(settings: Settings, version: str) -> Supervisor:
    """Raises OptionError or ModelError with what the operator should change. It may have to download."""
    reserved, address = ports.reserve(settings.grpc_address, "--grpc-address (ALTCLIP_GRPC_ADDRESS)")
    files = GivenFiles(settings)  # before a model may have to be downloaded
    models = specs(settings)
    chosen = devices.expand(settings.device, functools.cache(devices.cuda_devices))
    workers = places(settings, models, chosen, usable_cores())
    layout = Layout(tuple(spec.name for spec in models), chosen, len(workers), version, files.callers())
    pages = Pages(layout)
    pages.own.build_info.set(1, version)
    for message in doubts(settings):
        _events.warning("doubtful_settings", message)
    if not ports.is_loopback(address):
        for event, message in exposure(settings):
            _events.warning(event, message, grpc=address)
    chosen_settings = dataclasses.replace(settings, grpc_address=address)
    return Supervisor(chosen_settings, models, workers, pages, reserved, files)


def exposure(settings: Settings) -> list[tuple[str, str]]:
    """What an operator should know who offers the port to other machines: events and their messages."""
    warnings = []
    if not wants_keys(settings) and not settings.tls_client_ca:
        message = "there are no API keys: whoever reaches the port may call (see --api-keys)"
        warnings.append(("open_to_everyone", message))
    if wants_keys(settings) and not settings.tls_certificate:
        message = (
            "API keys travel unencrypted, unless something before the port encrypts (see --tls-certificate)"
        )
        warnings.append(("keys_in_the_clear", message))
    return warnings


def doubts(settings: Settings) -> list[str]:
    """What works, and is hardly what was meant."""
    found = []
    if settings.image_url_hosts and not settings.image_urls:
        found.append("--image-url-hosts does nothing without --image-urls: no address is fetched")
    if settings.max_message_bytes <= settings.max_image_bytes:
        found.append(
            "an image of --max-image-bytes does not fit in a message: --max-message-bytes should be larger"
        )
    return found


def specs(settings: Settings) -> list[ModelSpec]:
    """Every model to serve, within the operator's limits."""
    return [
        dataclasses.replace(
            spec, max_text_bytes=settings.max_text_bytes, max_image_pixels=settings.max_image_pixels
        )
        for spec in resolve_all(settings.model)
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
            f"altclip-worker {spec.name} {device}", slot=slot, spec=spec, device=device, threads=threads
        )
        for slot, (spec, device) in enumerate(wanted)
    ]
