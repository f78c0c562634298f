"""Settings can be written in a file of values as they are on a command line, whatever YAML makes of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from scripts.chart_schema import CHARTS_OWN
from service.config import options
from service.config.command_line import load
from service.config.settings import Settings
from tests.deploy.chart.rendering import helm, render, server

FIELDS = [field for field in dataclasses.fields(Settings) if field.name not in CHARTS_OWN]
CHOICES = {
    field.name: field.metadata["metavar"].split("|") for field in FIELDS if "|" in field.metadata["metavar"]
}


def understood(written: dict[str, str]) -> Settings:
    """What the server makes of settings of these names, in a file of values that Helm has read."""
    lines = [f"  {name.replace('_', '-')}: {text}" for name, text in written.items()]
    values: dict[str, Any] = helm().values_from_yaml("\n".join(["settings:", *lines]))
    return load(server(render(values))["args"], {})


def test_every_setting_can_be_written_as_its_default_is_shown() -> None:
    defaults = {field.name: options.show(field) for field in FIELDS if options.show(field)}
    assert {"tracing", "trace_ratio", "max_image_pixels", "cache_bytes"} <= defaults.keys()
    found = understood(defaults)
    assert {name: getattr(found, name) for name in defaults} == {
        field.name: field.default for field in FIELDS if field.name in defaults
    }


def test_every_word_of_a_choice_can_be_written_without_quotes() -> None:
    assert CHOICES["tracing"] == ["off", "on"]
    for number in range(max(map(len, CHOICES.values()))):
        written = {name: words[number % len(words)] for name, words in CHOICES.items()}
        found = understood(written)
        assert {name: getattr(found, name) for name in written} == written


def test_small_and_large_numbers_reach_the_server_as_they_are() -> None:
    found = understood({"trace_ratio": "0.00001", "batch_wait": "0.000002", "max_image_pixels": "25000000"})
    assert (found.trace_ratio, found.batch_wait, found.max_image_pixels) == (0.00001, 0.000002, 25_000_000)
    found = understood({"trace_ratio": "1%", "batch_wait": "0.5ms", "max_wait": "7.50"})
    assert (found.trace_ratio, found.batch_wait, found.max_wait) == (0.01, 0.0005, 7.5)
