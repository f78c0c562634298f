"""Each alert fires when it should and not when it should not, names what exists, and has a runbook."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rule_files import (
    EXPRESSIONS,
    FILES,
    LAYOUT,
    RULE_FILES,
    alerts,
    matchers,
    metric_names,
    recorded,
    recorded_names,
    rules,
    series,
)
from tests.deploy.tools import promtool
from worker.runtime.metric_labels import HTTP_ROUTES
from worker.runtime.metrics import Metrics

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks.md"
OBJECTIVES = ROOT / "docs" / "slo.md"
UNIT_TESTS = sorted((Path(__file__).parent / "promtool").glob("*.yaml"))
PROBES = {"/healthz", "/readyz", "/health", "/ping", "/.well-known/live", "/.well-known/ready"}
PARTS = ("What it means", "How to see it", "What to do", "When to ignore it")


def runbook_sections() -> dict[str, str]:
    """The text of each section of the runbooks that is about one alert, by its heading."""
    parts = re.split(r"^### (.*)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@functools.cache
def unit_tests() -> list[dict[str, Any]]:
    """Each check of an alert in promtool's tests."""
    found = []
    for path in UNIT_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            found += test["alert_rule_test"]
    return found


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", *map(str, RULE_FILES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_on_what_they_are_for_and_on_nothing_else(path: Path, tmp_path: Path) -> None:
    for rule_file in RULE_FILES:
        content = yaml.safe_load(rule_file.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                # promtool would compare each text, word by word; test_alerting.py sees them filled in.
                rule.pop("annotations", None)
        (tmp_path / rule_file.name).write_text(yaml.safe_dump(content))
    test = tmp_path / "tests.yaml"
    test.write_text(path.read_text())
    done = promtool("test", "rules", str(test))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    expected = [bool(test["exp_alerts"]) for test in unit_tests() if test["alertname"] == name]
    assert set(expected) == {True, False}


def test_no_test_is_of_an_alert_that_there_is_not() -> None:
    assert {test["alertname"] for test in unit_tests()} == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    # As pages show a heading's anchor: in lower case, with dashes for spaces, without punctuation.
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert anchor in anchors
    assert anchor == name.lower()


def test_each_alert_has_a_section_in_the_runbooks_and_no_other_has() -> None:
    assert set(runbook_sections()) == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_a_runbook_says_what_it_means_how_to_see_it_what_to_do_and_when_to_ignore_it(name: str) -> None:
    section = runbook_sections()[name]
    assert re.findall(r"^\*\*([^*]*)\.\*\*\s+\S", section, re.MULTILINE) == [*PARTS]


def test_expressions_in_the_runbooks_name_what_exists() -> None:
    text = RUNBOOKS.read_text()
    assert metric_names(text) <= set(series())
    assert recorded_names(text) <= recorded()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_rule_reads_what_exists(name: str) -> None:
    expression = EXPRESSIONS[name]
    assert metric_names(expression) <= set(series())
    assert recorded_names(expression) <= recorded()
    for matcher in matchers(expression):
        declared = series()[matcher.metric]
        assert matcher.label in declared.labels
        values = LAYOUT.values(declared.kinds[declared.labels.index(matcher.label)])
        for part in matcher.value.split("|") if "(" not in matcher.value else [matcher.value]:
            assert any(re.fullmatch(part, value) for value in values), f"{matcher}: nothing is {part}"


def test_every_objective_is_read_by_a_rule_or_an_alert() -> None:
    objectives = {rule["record"] for rule in rules(FILES / "objectives.yaml")}
    read = {name for expression in EXPRESSIONS.values() for name in recorded_names(expression)}
    assert objectives <= read


def test_the_page_on_objectives_tells_the_numbers_of_the_file() -> None:
    numbers = {
        rule["record"].rpartition(":")[2]: float(rule["expr"]) for rule in rules(FILES / "objectives.yaml")
    }
    page = OBJECTIVES.read_text()
    (errors,) = re.findall(r"^\| calls without an error \| ([\d.]+)% \|", page, re.MULTILINE)
    ((fast, seconds),) = re.findall(
        r"^\| calls fast enough \| ([\d.]+)% within ([\d.]+) s", page, re.MULTILINE
    )
    assert 1 - float(errors) / 100 == pytest.approx(numbers["error_ratio"])
    assert 1 - float(fast) / 100 == pytest.approx(numbers["slow_ratio"])
    assert float(seconds) == numbers["latency_seconds"]
    _, _, table = page.partition("| `altclip:threshold:…` | default |")
    told = {
        name: float(default)
        for names, defaults in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table, re.MULTILINE)
        for name, default in zip(re.findall(r"`(\w+)`", names), defaults.split(", "), strict=True)
    }
    thresholds = [name for name in recorded() if name.startswith("altclip:threshold:")]
    assert told == {name.rpartition(":")[2]: numbers[name.rpartition(":")[2]] for name in thresholds}


def test_the_latency_objective_is_a_bound_of_the_histograms() -> None:
    (objective,) = [rule for rule in rules(FILES / "objectives.yaml") if rule.get("labels")]
    bound = objective["labels"]["le"]
    assert str(objective["expr"]) == bound
    for metric in ("altclip_request_duration_seconds", "altclip_http_request_duration_seconds"):
        assert bound in [repr(float(each)) for each in series()[metric].buckets]


def test_what_counts_as_a_request_is_every_route_but_the_probes() -> None:
    conditions = {
        matcher.value
        for expression in EXPRESSIONS.values()
        for matcher in matchers(expression)
        if matcher.label == "route"
    }
    (left_out,) = conditions
    assert {route for route in HTTP_ROUTES if re.fullmatch(left_out, route)} == PROBES


def test_methods_that_have_no_latency_are_those_that_stream() -> None:
    from service.config.rpcs import SERVICES

    streams = {
        method.name
        for service in SERVICES
        for method in service.methods
        if method.client_streaming or method.server_streaming
    }
    conditions = {
        matcher.value
        for expression in EXPRESSIONS.values()
        for matcher in matchers(expression)
        if matcher.label == "method"
    }
    assert conditions == streams
    assert set(Metrics.local(LAYOUT).layout.methods) > streams
