"""Limits of memory that we set are above what the worksheet of docs/operations.md adds up to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config.command_line import load
from service.frontend.preprocessing import decoders
from tests.deploy.chart.rendering import render, server
from tests.deploy.rule_files import LAYOUT
from tests.docs.pages import examples
from worker.decoder.starting import memory_bytes
from worker.models.sources import bundled_directory
from worker.runtime.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
(SUM,) = re.findall(r"^\| I \| memory of a pod \| (.*?); the parts ", PAGE, re.MULTILINE)
COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
UNITS = {"Gi": 1 << 30, "g": 1 << 30}
BUNDLED = (bundled_directory() / "model.safetensors").stat().st_size
FULL_SIZE = 3_400_000_000


def most_memory(arguments: list[str], cpus: int, weights: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Bytes that a server with these arguments and one model on so many CPUs may take, by the worksheet."""
    monkeypatch.setattr(decoders, "usable_cores", lambda: cpus)
    settings = load(arguments, {})
    of_each_frontend = decoders.Decoders.of(settings, Metrics.local(LAYOUT)).count + 1
    one_decoder = 20 * settings.max_image_pixels + (220 << 20)
    limit = memory_bytes(settings.max_image_pixels, settings.max_image_bytes)
    assert one_decoder == pytest.approx(limit, rel=0.02), "at which it is stopped"
    workers = settings.replicas
    return (
        (weights + 0.9e9) * workers
        + (60 << 20) * settings.frontends * workers
        + one_decoder * of_each_frontend * settings.frontends
        + 2 * settings.max_queue_bytes * settings.frontends
        + 0.5e9
    )


def size(quantity: str) -> int:
    """Of a limit in the notation of Kubernetes or of Docker."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def test_the_worksheet_adds_up_what_is_added_up_here() -> None:
    assert SUM == (
        "(weights + 0.9 GB on a CPU, 0.3 GB on a GPU) × workers + 60 MiB × frontends × workers + "
        "(20 bytes × `--max-image-pixels` + 220 MiB) × (`--decoders` + 1) × frontends + "
        "2 × `--max-queue-bytes` × frontends + 0.5 GB"
    )


@pytest.mark.parametrize(
    ("values", "weights"),
    [({}, BUNDLED), (yaml.safe_load(examples("docs/first-hour.md", "yaml")[2].code), FULL_SIZE)],
    ids=["the chart's defaults", "the real model of the first hour"],
)
def test_a_pod_has_room_for_all_that_its_processes_may_take(
    values: dict[str, Any], weights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = server(render(values))
    limits = container["resources"]["limits"]
    assert size(limits["memory"]) > most_memory(container["args"], int(limits["cpu"]), weights, monkeypatch)


def test_the_compose_file_gives_room_for_all_that_the_processes_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["altclip"]
    assert size(service["mem_limit"]) > most_memory(
        service["command"], int(service["cpus"]), BUNDLED, monkeypatch
    )
