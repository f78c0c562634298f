"""What a measurement says: ratios taken in one run, their median and spread, against a bar."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["HEAD", "HOLDS", "MISSES", "UNDECIDED", "Found", "Row", "best_peer", "lines", "ratios", "table"]

HOLDS, MISSES, UNDECIDED = "holds", "misses", "undecided"
CHANCE = 1 / 8
"""A verdict stands when so many of the ratios agree that a fair coin would do so no more often than this:
all of three or more, all but one of six, all but two of nine, all but four of fifteen."""


@dataclass(frozen=True)
class Row:
    """One line of the report.

    ratios: what / against, one for each round. bar: what the median must reach, from above where `at_most`;
    None for a figure that is reported without one. worst: the worst ratio must reach it, not the median.
    facts: absolute figures with their units, for the reader. others, stolen: the shares of the machine's
    processor time that other processes used and the hypervisor gave away meanwhile, where that is known.
    """

    what: str
    against: str
    ratios: Sequence[float]
    bar: float | None = None
    at_most: bool = False
    worst: bool = False
    facts: dict[str, float | str] = field(default_factory=dict)
    others: float | None = None
    stolen: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """Empty without a bar; "undecided" where the ratios on either side of it are a coin's toss."""
        if self.bar is None:
            return ""
        good = sum(ratio <= self.bar if self.at_most else ratio >= self.bar for ratio in self.ratios)
        bad = len(self.ratios) - good
        if self.worst:
            return MISSES if bad else HOLDS
        if coin(min(good, bad), len(self.ratios)) > CHANCE:
            return UNDECIDED
        return HOLDS if good > bad else MISSES


def coin(few: int, of: int) -> float:
    """How often a fair coin that is tossed so many times shows its one side that few times, or fewer."""
    ways: int = sum(math.comb(of, number) for number in range(few + 1))
    return ways / float(2**of)


@dataclass(frozen=True)
class Found:
    """What one part of a run found. skipped: what could not be measured, and why."""

    rows: Sequence[Row] = ()
    skipped: dict[str, str] = field(default_factory=dict)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Of two measures that were taken in turn, one for each round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def best_peer(rows: Iterable[Row]) -> list[Row]:
    """For each thing that was measured against several servers, the row of the one that did best."""
    by_what: dict[str, list[Row]] = {}
    for row in rows:
        by_what.setdefault(row.what, []).append(row)
    found = []
    for against in by_what.values():
        at_most = against[0].at_most
        best = (max if at_most else min)(against, key=lambda row: row.median)
        name = f"the best of {len(against)} other servers: {best.against}"
        found.append(replace(best, against=name, facts={}))
    return found


COLUMNS = ("what", "against", "ratio (min – max)", "bar", "verdict", "others")
HEAD = f"| {' | '.join(COLUMNS)} |\n| {' | '.join('---' for _ in COLUMNS)} |"


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown, which is also what the terminal shows."""
    return "\n".join([HEAD, *map(lines, rows)])


def lines(row: Row) -> str:
    """The row's line of the table, and below it the line of its facts."""
    bar = "" if row.bar is None else f"{'≤' if row.at_most else '≥'} {row.bar:g}"
    spread = f"{row.median:.2f} ({min(row.ratios):.2f} – {max(row.ratios):.2f})"
    line = f"| {row.what} | {row.against} | {spread} | {bar} | {row.verdict} | {_had(row)} |"
    if row.facts:
        facts = ", ".join(f"{key} {_show(value)}" for key, value in row.facts.items())
        line += f"\n| | {facts} | | | | |"
    return line


def _had(row: Row) -> str:
    """What others had of the machine."""
    if row.others is None or row.stolen is None:
        return ""
    return f"{row.others:.0%}" + (f", {row.stolen:.0%} stolen" if row.stolen >= 0.005 else "")


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
