"""What Helm says after an installation is so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.chart.rendering import manifests, objects_of
from tests.deploy.chart.switches import SWITCHES


def notes(values: dict[str, Any]) -> str:
    return notes_of(manifests(values))


def notes_of(made: dict[str, str]) -> str:
    (text,) = [text for path, text in made.items() if path.endswith("NOTES.txt")]
    return text


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_notes_name_a_test_where_there_is_one(switch: str) -> None:
    made = manifests(SWITCHES[switch])
    tested = any(each["kind"] == "Pod" for each in objects_of(made))
    assert ("helm -n default test altclip" in notes_of(made)) == tested


@pytest.mark.parametrize(
    ("switch", "open_to_all", "in_the_clear"),
    [
        ("defaults", True, True),
        ("keys in a secret", False, True),
        ("a certificate", True, False),
        ("certificates of both sides", False, False),
    ],
)
def test_the_notes_say_who_may_call_and_what_is_encrypted(
    switch: str, open_to_all: bool, in_the_clear: bool
) -> None:
    told = notes(SWITCHES[switch])
    assert ("everyone who reaches the port may call" in told) == open_to_all
    assert ("Calls are not encrypted" in told) == in_the_clear


def test_the_notes_say_what_makes_prometheus_scrape_it() -> None:
    assert "but annotations of the pods" in notes({})
    assert "Nothing makes Prometheus scrape it (" in notes({"monitoring": {"podAnnotations": False}})
    assert "Nothing makes Prometheus" not in notes(SWITCHES["a service monitor"])
