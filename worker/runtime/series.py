"""One metric: how it is declared, and its float64 cells in a page of shared memory. Standard library only.

`metrics.py` holds the table of all of them, and says who writes which.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal, NamedTuple

from worker.runtime.metric_labels import Layout

__all__ = ["Counter", "Exemplar", "Exemplars", "Gauge", "Histogram", "Merge", "Series"]

Kind = Literal["counter", "gauge", "histogram", "exemplars"]
Merge = Literal["sum", "max", "age"]


@dataclass(frozen=True, slots=True)
class Series:
    """One metric's declaration.

    labels: their names. kinds: of each label, whose values of the layout it takes.
    merge (gauges): how pages add up. `sum`, and a dead process's share vanishes; `max`, which outlives its
    process; `age`: a cell holds the monotonic second since when (0: not at all), shown as the seconds gone by
    since the earliest, so that it grows although its writer hangs. hidden: for the supervisor only.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    merge: Merge = "sum"
    hidden: bool = False

    @property
    def width(self) -> int:
        """Cells per label tuple: a histogram has one per bucket, one for +Inf, one for the sum."""
        if self.kind == "exemplars":
            return (len(self.buckets) + 1) * _EXEMPLAR_CELLS
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


class _Cells:
    """The cells of one series in one page; `first` maps each label tuple to its first cell."""

    __slots__ = ("cells", "first", "series")

    def __init__(self, series: Series, layout: Layout, cells: memoryview[float], start: int) -> None:
        self.series = series
        self.cells = cells
        tuples = itertools.product(*map(layout.values, series.kinds))
        self.first = {labels: start + n * series.width for n, labels in enumerate(tuples)}

    def value(self, *labels: str) -> float:
        """What a counter or gauge holds in this page."""
        return float(self.cells[self.first[labels]])


class Counter(_Cells):
    """Only rises."""

    __slots__ = ()

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Add `by` ≥ 0."""
        self.cells[self.first[labels]] += by


class Gauge(_Cells):
    """Any value."""

    __slots__ = ()

    def set(self, value: float, *labels: str) -> None:
        """Replace the value."""
        self.cells[self.first[labels]] = value


class Histogram(_Cells):
    """Counts per bucket, and the sum of what was observed."""

    __slots__ = ()

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """Count `value`, or the same value several `times`."""
        first = self.first[labels]
        buckets = self.series.buckets
        self.cells[first + bisect_left(buckets, value)] += times
        self.cells[first + len(buckets) + 1] += value * times

    def value(self, *labels: str) -> float:
        """How many were observed in this page."""
        first = self.first[labels]
        return float(sum(self.cells[first : first + len(self.series.buckets) + 1]))


_EXEMPLAR_CELLS = 8
"""Six of 32 bits each for the ids, which a float64 holds exactly, the value, and the time."""


class Exemplar(NamedTuple):
    """One observation with the trace that it belongs to: ids in hex digits, Unix time."""

    trace_id: str
    span_id: str
    value: float
    time: float


class Exemplars(_Cells):
    """The last traced observation of each bucket of a histogram, which is another series."""

    __slots__ = ()

    @property
    def empty(self) -> bool:
        """Whether there is none in this page, as almost always where tracing is off."""
        start = min(self.first.values())
        stop = start + len(self.first) * self.series.width
        return not self.cells[start:stop].tobytes().strip(b"\0")

    def put(self, value: float, ids: tuple[str, str], *labels: str) -> None:
        """An observation. ids: of its trace and span, 32 and 16 hex digits."""
        start = self.first[labels] + _EXEMPLAR_CELLS * bisect_left(self.series.buckets, value)
        digits = "".join(ids)
        self.cells[start + 7] = 0.0  # not to be read until it is whole
        for part in range(6):
            self.cells[start + part] = int(digits[8 * part : 8 * part + 8], 16)
        self.cells[start + 6] = value
        self.cells[start + 7] = time.time()

    def get(self, bucket: int, *labels: str) -> Exemplar | None:
        """That of a bucket by its number; None without one, or while it is being written."""
        start = self.first[labels] + _EXEMPLAR_CELLS * bucket
        if (moment := self.cells[start + 7]) == 0.0:
            return None
        *parts, value = self.cells[start : start + 7]
        if moment != self.cells[start + 7]:
            return None
        digits = "".join(f"{int(part):08x}" for part in parts)
        return Exemplar(digits[:32], digits[32:], value, moment)
