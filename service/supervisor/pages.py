"""Adds up the metrics of all processes, for the operations port and the watchdog.

Each process writes its metrics into a page of shared memory. Once the process was reaped, its counters are
added to a base, so that no counter ever falls, and its gauges are dropped. Items that a frontend had accepted
and not ended are counted as failed, so that in an idle server as many items have ended as were accepted.
"""

from __future__ import annotations

import itertools
import mmap
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from worker.runtime import memory
from worker.runtime.metric_labels import MODALITIES, OUTCOMES
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.series import Exemplars, Histogram, Series

__all__ = ["Page", "Pages"]

_PUBLISHED = ("queue_depth", "batch_size", "request_duration", "http_request_duration")
"""What frontends may show of the whole server."""


class Page:
    """The page of one process, made by the supervisor. `descriptor` is what the process gets."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.descriptor = memory.create(name, Metrics.size(layout))
        self._map: mmap.mmap = memory.attach(self.descriptor)
        self.metrics = Metrics(layout, self._map)

    def close_descriptor(self) -> None:
        """After the process got its own."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Pages(Collector):
    """The supervisor's own page (`own`), those of the living, and the base of the dead."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.own = Metrics.local(layout)
        self._base = Metrics.local(layout)
        self._living: list[Page] = []
        self.totals = Page(layout, "altclip-totals")
        """The sums of all pages for frontends to read, as of the last `publish`."""

    def publish(self) -> None:
        """Adds up anew what frontends show: counters, histograms, and gauges whose pages add up."""
        pages = self._all()
        for attribute in _PUBLISHED:
            found = getattr(self.totals.metrics, attribute)
            start = min(found.first.values())
            cells = slice(start, start + len(found.first) * found.series.width)
            columns = zip(*(page.cells[cells] for page in pages), strict=True)
            for number, column in enumerate(columns, start):
                self.totals.metrics.cells[number] = sum(column)

    def add(self, name: str) -> Page:
        """A fresh page for a process about to start."""
        page = Page(self.layout, name)
        self._living.append(page)
        return page

    def retire(self, page: Page) -> None:
        """Adds the page of a process that was reaped to the base: nobody writes to it any more."""
        self._living.remove(page)
        page.close_descriptor()
        base, dead = self._base.cells, page.metrics.cells
        for attribute, series in Metrics.table():
            for first in getattr(page.metrics, attribute).first.values():
                if series.merge == "max":
                    base[first] = max(base[first], dead[first])
                elif series.kind in ("counter", "histogram"):
                    for cell in range(first, first + series.width):
                        base[cell] += dead[cell]
        for labels in itertools.product(self.layout.models, MODALITIES):
            ended = sum(page.metrics.items.value(*labels, outcome) for outcome in OUTCOMES)
            self._base.items.inc(*labels, "failed", by=page.metrics.accepted.value(*labels) - ended)

    def outstanding_since(self, number: int, awake_since: float) -> float:
        """Monotonic second since when any frontend waits for this worker's oldest answer; 0: none waits.

        A frontend without a heartbeat after `awake_since` does not count: its event loop is blocked, so
        there may be answers that it has not read yet.
        """
        awake = (page.metrics for page in self._living if page.metrics.heartbeat.value() >= awake_since)
        waiting = (metrics.outstanding_since.value(str(number)) for metrics in awake)
        return min((since for since in waiting if since > 0), default=0.0)

    def account(self) -> dict[str, dict[str, int]]:
        """How all calls (by code) and items (by outcome) have ended; what none ended as is left out."""
        pages = self._all()
        account: dict[str, dict[str, int]] = {}
        for name, attribute in (("calls", "caller_requests"), ("items", "items")):
            ended: Counter[str] = Counter()
            for labels, first in getattr(self.own, attribute).first.items():
                ended[labels[-1]] += int(sum(page.cells[first] for page in pages))
            account[name] = dict(+ended)
        return account

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client: each family once, every label tuple in it."""
        now, pages = time.monotonic(), self._all()
        for attribute, series in Metrics.table():
            if not series.hidden:
                yield _family(attribute, series, pages, now)

    def _all(self) -> list[Metrics]:
        return [self._base, self.own, *(page.metrics for page in self._living)]


def _family(attribute: str, series: Series, pages: list[Metrics], now: float) -> Metric:
    cells = getattr(pages[0], attribute)
    if isinstance(cells, Histogram):
        histogram = HistogramMetricFamily(series.name, series.help, labels=series.labels)
        bounds = [*map(_bound, series.buckets), "+Inf"]
        all_exemplars = (getattr(page, f"{attribute}_exemplars", None) for page in pages)
        found: list[Exemplars] = [each for each in all_exemplars if each is not None and not each.empty]
        for labels, first in cells.first.items():
            count = 0.0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for number, bound in enumerate(bounds):
                count += sum(page.cells[first + number] for page in pages)
                exemplar = _exemplar(found, number, labels)
                buckets.append((bound, count) if exemplar is None else (bound, count, exemplar))
            histogram.add_metric(labels, buckets, sum(page.cells[first + len(bounds)] for page in pages))
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    of_kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
    family = of_kind(series.name, series.help, labels=series.labels)
    for labels, first in cells.first.items():
        family.add_metric(labels, _merged(series, [page.cells[first] for page in pages], now))
    return family


def _exemplar(found: Sequence[Exemplars], bucket: int, labels: tuple[str, ...]) -> Exemplar | None:
    """The latest of all pages, which only OpenMetrics shows."""
    given = [each for page in found if (each := page.get(bucket, *labels))]
    if not given:
        return None
    latest = max(given, key=lambda each: each.time)
    ids = {"trace_id": latest.trace_id, "span_id": latest.span_id}
    return Exemplar(ids, latest.value, latest.time)


def _merged(series: Series, values: list[float], now: float) -> float:
    """One number from what every page holds in one cell."""
    if series.merge == "max":
        return max(values)
    if series.merge == "age":
        since = min((value for value in values if value > 0), default=now)
        return max(0.0, now - since)
    return sum(values)


def _bound(bound: float) -> str:
    return repr(float(bound))
