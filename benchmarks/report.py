"""What a measurement says: ratios taken in one run, their median and spread, against a bar."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = [
    "Found",
    "Row",
    "alternate",
    "best_peer",
    "machine",
    "read_part",
    "table",
    "write_json",
    "write_part",
]


@dataclass(frozen=True)
class Row:
    """One line of the report.

    ratios: what / against, one for each alternation. bar: what the median must reach, from above where
    `at_most`; None for a figure that is reported without one. worst: the worst ratio must reach it, not the
    median. facts: absolute figures with their units, for the reader.
    """

    what: str
    against: str
    ratios: Sequence[float]
    bar: float | None = None
    at_most: bool = False
    worst: bool = False
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        worst = max(self.ratios) if self.at_most else min(self.ratios)
        value = worst if self.worst else self.median
        holds = value <= self.bar if self.at_most else value >= self.bar
        return "holds" if holds else "misses"


@dataclass(frozen=True)
class Found:
    """What one part of a run found. skipped: what could not be measured, and why."""

    rows: Sequence[Row] = ()
    skipped: dict[str, str] = field(default_factory=dict)


def alternate(*measures: Callable[[], float], rounds: int = 5) -> list[list[float]]:
    """Runs the measures in turn, A B A B …, so that a machine whose speed drifts is fair to each.

    One list of samples per measure.
    """
    samples: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, taken in zip(measures, samples, strict=True):
            taken.append(measure())
    return samples


BEST = {"texts/s": (2.0, False), "images/s": (1.08, False), "p99": (0.5, True)}
"""What the best of the other servers is measured by: the bar, and whether it is an upper one."""


def best_peer(rows: Iterable[Row]) -> list[Row]:
    """For each thing that was measured against several servers, the row of the one that did best."""
    by_what: dict[str, list[Row]] = {}
    for row in rows:
        by_what.setdefault(row.what, []).append(row)
    found = []
    for what, against in by_what.items():
        bar, at_most = next(bar for word, bar in BEST.items() if word in what)
        best = (max if at_most else min)(against, key=lambda row: row.median)
        name = f"the best of {len(against)} other servers: {best.against}"
        found.append(Row(what, name, best.ratios, bar=bar, at_most=at_most))
    return found


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    name = platform.processor() or platform.machine()
    flags = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        if key.strip() == "flags":
            wanted = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
            flags = " ".join(flag for flag in wanted if flag in value.split())
    return {"processor": name, "instructions": flags, "python": platform.python_version()}


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown, which is also what the terminal shows."""
    lines = ["| what | against | ratio (min – max) | bar | verdict |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        bar = "" if row.bar is None else f"{'≤' if row.at_most else '≥'} {row.bar:g}"
        spread = f"{row.median:.2f} ({min(row.ratios):.2f} – {max(row.ratios):.2f})"
        lines.append(f"| {row.what} | {row.against} | {spread} | {bar} | {row.verdict} |")
        if row.facts:
            facts = ", ".join(f"{key} {_show(value)}" for key, value in row.facts.items())
            lines.append(f"| | {facts} | | | |")
    return "\n".join(lines)


def write_json(path: Path, rows: Iterable[Row], skipped: dict[str, str]) -> None:
    """skipped: what could not be measured, and why."""
    report = {
        "machine": machine(),
        "rows": [{**asdict(row), "median": row.median, "verdict": row.verdict} for row in rows],
        "skipped": skipped,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def write_part(path: Path, found: Found) -> None:
    """What `read_part` reads."""
    part = {"machine": machine(), **asdict(found)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(part, indent=2, ensure_ascii=False) + "\n")


def read_part(path: Path) -> Found | None:
    """A part as it was taken before; None where there is none, or it is another machine's."""
    if not path.is_file():
        return None
    part = json.loads(path.read_text())
    if part["machine"] != machine():
        return None
    return Found([Row(**row) for row in part["rows"]], part["skipped"])


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
