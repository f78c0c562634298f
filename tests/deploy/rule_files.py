"""The rule files and dashboards as tests read them, and the names that stand in their expressions."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from service.config.rpcs import CODES, METHODS
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.series import Series

__all__ = [
    "DASHBOARDS",
    "EXPRESSIONS",
    "FILES",
    "LAYOUT",
    "RULE_FILES",
    "Matcher",
    "alerts",
    "dashboards",
    "matchers",
    "metric_names",
    "recorded",
    "recorded_names",
    "rules",
    "series",
]

FILES = Path(__file__).parents[2] / "deploy" / "helm" / "altclip" / "files"
RULE_FILES = [FILES / f"{name}.yaml" for name in ("objectives", "rules", "alerts")]
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
LAYOUT = Layout(("m",), ("cpu",), version="1", callers=("search",), methods=METHODS, codes=CODES)


class Matcher(NamedTuple):
    """One condition on a metric label in a selector: `metric{label OPERATOR "value"}`."""

    metric: str
    label: str
    operator: str
    value: str


@functools.cache
def rules(path: Path) -> list[dict[str, Any]]:
    """Of all groups of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """By their names."""
    return {rule["alert"]: rule for rule in rules(FILES / "alerts.yaml")}


def recorded() -> set[str]:
    """The names of all series that rules record."""
    return {rule["record"] for path in RULE_FILES for rule in rules(path) if "record" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    """By the names of their files."""
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def series() -> dict[str, Series]:
    """Every metric that the service shows, by its name without _bucket, _sum or _count."""
    return {each.name: each for _, each in Metrics.table() if not each.hidden}


def metric_names(expression: str) -> set[str]:
    """The service's own metrics in an expression, without _bucket, _sum or _count where it is a histogram."""
    found = set(re.findall(r"\baltclip_[a-z0-9_]+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if _of_histogram(name) else name for name in found}


def recorded_names(expression: str) -> set[str]:
    """The recorded series in an expression."""
    return set(re.findall(r"\baltclip:[a-z0-9_:]+", expression))


def matchers(expression: str) -> Iterator[Matcher]:
    """Every condition on a label of the service's own metrics."""
    for name, inside in re.findall(r'\b(altclip_[a-z0-9_]+)\{((?:[^"}]|"[^"]*")*)\}', expression):
        metric = re.sub(r"_(bucket|sum|count)$", "", name) if _of_histogram(name) else name
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inside):
            yield Matcher(metric, label, operator, value)


def _of_histogram(name: str) -> bool:
    return re.sub(r"_(bucket|sum|count)$", "", name) in series()


EXPRESSIONS = {
    f"{path.stem} {rule.get('alert', rule.get('record'))} {number}": str(rule["expr"])
    for path in RULE_FILES
    for number, rule in enumerate(rules(path))
}
"""The expression of each rule, by file, name and number."""
