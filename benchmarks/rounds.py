"""Measuring in turn, round after round, until the verdicts are clear or it has taken long enough.

A B C │ A B C │ A B C │ …   ─▶ samples of each ─▶ rows ─▶ another round, while one of them is undecided
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.machine import spent, taken
from benchmarks.report import UNDECIDED, Row

__all__ = ["another_round", "measured"]

Measure = Callable[[], float]

LONGER = 3
"""So many times the rounds that were asked for are taken at most."""
LONGEST = 600.0
"""Seconds after which no further round begins for the sake of a verdict."""


def measured(rows: Callable[..., Sequence[Row]], *measures: Measure, rounds: int = 5) -> list[Row]:
    """Takes the measures in turn and gives the rows that are made of them.

    rows: makes the rows of one list of samples for each measure. While a row says "undecided" there are
    further rounds, at most three times as many in all. Each row says what others had meanwhile.
    """
    samples: list[list[float]] = [[] for _ in measures]
    before, started = spent(), time.monotonic()
    while True:
        for measure, so_far in zip(measures, samples, strict=True):
            so_far.append(measure())
        if len(samples[0]) < rounds:
            continue
        found = rows(*samples)
        if not another_round(found, len(samples[0]), rounds, time.monotonic() - started):
            break
    share = taken(before, spent())
    return [replace(row, others=share.others, stolen=share.stolen) for row in found]


def another_round(rows: Sequence[Row], done: int, rounds: int, seconds: float) -> bool:
    """Whether to go on: something is undecided, and there is room for it. seconds: since the first round."""
    undecided = any(row.verdict == UNDECIDED for row in rows)
    return undecided and done < LONGER * rounds and seconds < LONGEST
