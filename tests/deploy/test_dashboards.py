"""The dashboards are what their code makes, ask only what exists, and leave nothing out without a reason."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.dashboards.grafana import BOARDS, text
from tests.deploy.lively import lively
from tests.deploy.monitoring import filled_in, monitored
from tests.deploy.rule_files import (
    EXPRESSIONS,
    FILES,
    LAYOUT,
    dashboards,
    matchers,
    metric_names,
    recorded,
    recorded_names,
    series,
)
from tests.server import until

NOT_SHOWN: dict[str, str] = {}
"""Metrics that no panel shows, and why."""


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that ask something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: dict[str, Any]) -> list[str]:
    """All queries of a dashboard."""
    return [target["expr"] for panel in panels(board) for target in panel["targets"]]


def test_the_files_are_what_the_code_makes() -> None:
    assert set(dashboards()) == set(BOARDS)
    for name in BOARDS:
        assert (FILES / "dashboards" / f"{name}.json").read_text() == text(name), "run `make dashboards`"


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_asks_only_what_exists(name: str) -> None:
    for expression in expressions(dashboards()[name]):
        assert metric_names(expression) <= set(series())
        assert recorded_names(expression) <= recorded()
        for matcher in matchers(expression):
            if matcher.label in ("namespace", "job"):  # Prometheus adds them
                continue
            declared = series()[matcher.metric]
            assert matcher.value in LAYOUT.values(declared.kinds[declared.labels.index(matcher.label)])


def test_every_metric_is_shown_or_there_is_a_reason_why_not() -> None:
    asked = [expression for board in dashboards().values() for expression in expressions(board)]
    # Through the recorded series, what these are made of is shown as well.
    by_rules = [EXPRESSIONS[name] for name in EXPRESSIONS if name.split()[0] == "rules"]
    direct = {name for expression in asked for name in metric_names(expression)}
    recorded_too = {name for expression in by_rules for name in metric_names(expression)}
    assert set(series()) - direct - recorded_too == set(NOT_SHOWN)
    assert all(NOT_SHOWN.values())


def test_every_recorded_series_has_a_reader() -> None:
    asked = [expression for board in dashboards().values() for expression in expressions(board)]
    read = {name for expression in [*EXPRESSIONS.values(), *asked] for name in recorded_names(expression)}
    assert recorded() <= read


@pytest.mark.parametrize("name", dashboards())
def test_a_query_is_limited_to_the_chosen_namespaces_and_jobs(name: str) -> None:
    for expression in expressions(dashboards()[name]):
        chosen = expression.count('namespace=~"$namespace", job=~"$job"}')
        objectives = {each for each in recorded_names(expression) if each.startswith("altclip:objective:")}
        assert chosen > 0
        assert chosen == len([*_selectors(expression)]) - len(objectives)


@pytest.mark.parametrize("name", dashboards())
def test_panels_say_what_they_show_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards()[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in panels(dashboards()[name]):
        assert panel["title"]
        assert panel["description"].endswith(".")
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(legends) == len(set(legends))


@pytest.mark.parametrize("name", dashboards())
def test_numbers_of_panels_are_unique(name: str) -> None:
    numbers = [panel["id"] for panel in dashboards()[name]["panels"]]
    assert len(numbers) == len(set(numbers))


def _selectors(expression: str) -> list[str]:
    return re.findall(r"\baltclip[_:][a-z0-9_:]+", expression)


@pytest.mark.timeout(400)
def test_every_query_has_an_answer_from_a_prometheus_that_watches_a_service(tmp_path: Path) -> None:
    asked = {
        (panel["title"], target["legendFormat"]): filled_in(target["expr"], "3s")
        for board in dashboards().values()
        for panel in panels(board)
        for target in panel["targets"]
    }
    with (
        lively(tmp_path) as server,
        monitored({"altclip": server.ops}, tmp_path, speed=100, scrape=0.5) as seen,
    ):
        missing = dict(asked)

        def all_answered() -> bool:
            for name, query in [*missing.items()]:
                values = [float(sample["value"][1]) for sample in seen.query(query)]
                if any(map(math.isfinite, values)):
                    del missing[name]
            return not missing

        with contextlib.suppress(AssertionError):
            until(all_answered, seconds=150, what="answers", interval=0.5)
        assert missing == {}
