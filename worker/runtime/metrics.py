"""Every metric of the service, and the shared page that one process writes. Standard library only.

The body of `Metrics` is the one table of series. A process holds one page of float64 cells, which the
supervisor made and can still read after the process was killed; `service/metrics.py` adds the pages up for a
scrape. Each series is written by one thread of its process at a time (a cell is read, added to, and written
back: two threads would lose counts).

    metrics.requests.inc("EmbedText", "OK")
    metrics.request_duration.observe(0.012, "EmbedText")
    metrics.queue_depth.set(3, "m", "text")

All label values are enumerated from the layout, so every series exists at zero from the start. A label value
that is not in the layout is a KeyError: a bug.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from worker.runtime.metric_labels import Layout

__all__ = [
    "Counter",
    "Gauge",
    "Histogram",
    "Layout",
    "Metrics",
    "Series",
]

_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
_ITEMS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
_TOKENS: Final = (16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0)

Kind = Literal["counter", "gauge", "histogram"]
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


# Each returns its declaration as `Any`: `Metrics.__init__` puts the cells under the same name. A label may be
# given as "name:kind"; without a kind it has the values of that name.


def _counter(name: str, *labels: str, text: str) -> Any:
    return Series(f"altclip_{name}_total", "counter", text, *_labels(labels))


def _gauge(name: str, *labels: str, text: str, merge: Merge = "sum", hidden: bool = False) -> Any:
    return Series(f"altclip_{name}", "gauge", text, *_labels(labels), merge=merge, hidden=hidden)


def _histogram(name: str, *labels: str, buckets: tuple[float, ...], text: str) -> Any:
    return Series(f"altclip_{name}", "histogram", text, *_labels(labels), buckets)


def _labels(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and kinds."""
    pairs = [label.partition(":")[::2] for label in given]
    return tuple(name for name, _ in pairs), tuple(kind or name for name, kind in pairs)


class Metrics:
    """One process's page. The comment above each group says who writes it."""

    # frontend, transport
    requests: Counter = _counter(
        "requests", "method", "code", text="Calls that ended, by RPC and gRPC status code."
    )
    request_duration: Histogram = _histogram(
        "request_duration_seconds",
        "method",
        buckets=_SECONDS,
        text="Time from a call's arrival to its end, by RPC.",
    )
    http_requests: Counter = _counter(
        "http_requests",
        "route",
        "code:http_code",
        text="HTTP requests that ended, by route (other: an unknown one) and status (499: the client went).",
    )
    http_request_duration: Histogram = _histogram(
        "http_request_duration_seconds",
        "route",
        buckets=_SECONDS,
        text="Time from an HTTP request's arrival, its body read, to its end, by route.",
    )
    caller_requests: Counter = _counter(
        "caller_requests",
        "caller",
        "code",
        text="Calls that ended, by the name of their API key (anonymous: without a valid one; other: a name "
        "that was added after the start).",
    )
    # frontend, core
    accepted: Counter = _counter(
        "items_accepted",
        "model",
        "modality",
        text="Items that were accepted. Those of altclip_items_total have ended; the others are under way.",
    )
    items: Counter = _counter(
        "items",
        "model",
        "modality",
        "outcome",
        text="Items that were accepted, each counted once when it ended: ok, failed (with those that a "
        "frontend took with it when it died) or cancelled.",
    )
    slots: Gauge = _gauge(
        "slots_in_use",
        "model",
        "modality",
        text="Items that frontends have handed to workers, by their slots.",
    )
    cache_lookups: Counter = _counter(
        "cache_lookups", "result", text="Lookups in the embedding caches: hit or miss."
    )
    image_fetches: Counter = _counter(
        "image_fetches", "fetch", text="Images behind addresses: ok, cached, refused or failed."
    )
    decoder_restarts: Counter = _counter(
        "decoder_restarts", text="Decoder processes that ended, of an image or otherwise, and were replaced."
    )
    # worker
    queue_depth: Gauge = _gauge(
        "queue_depth", "model", "modality", text="Items that wait in the workers' queues."
    )
    queue_wait: Histogram = _histogram(
        "queue_wait_seconds",
        "model",
        "modality",
        "priority",
        buckets=_SECONDS,
        text="Time an item waited in a worker's queue before its batch began.",
    )
    batch_size: Histogram = _histogram(
        "batch_size", "model", "modality", buckets=_ITEMS, text="Items in a batch."
    )
    batch_tokens: Histogram = _histogram(
        "batch_tokens", "model", buckets=_TOKENS, text="Tokens in a batch of texts."
    )
    batch_duration: Histogram = _histogram(
        "batch_duration_seconds",
        "model",
        "modality",
        buckets=_SECONDS,
        text="Time from a batch's start on the device to its results.",
    )
    last_batch_timestamp: Gauge = _gauge(
        "last_batch_timestamp_seconds",
        "model",
        "device",
        merge="max",
        text="Unix time when a batch last ended; 0 before the first.",
    )
    oldest_inflight: Gauge = _gauge(
        "oldest_inflight_seconds",
        "model",
        "device",
        merge="age",
        text="Age of the oldest item that a worker has taken and not answered; 0 when idle.",
    )
    # supervisor
    worker_up: Gauge = _gauge("worker_up", "model", "device", text="Workers that are ready.")
    worker_restarts: Counter = _counter(
        "worker_restarts", "model", "device", text="Workers that ended and were replaced."
    )
    build_info: Gauge = _gauge("build_info", "version", text="Always 1; the label tells the version.")
    reloads: Counter = _counter("file_reloads", "file", text="Changed files that were read and are in use.")
    reload_failures: Counter = _counter(
        "file_reload_failures", "file", text="Changed files that could not be used."
    )
    reload_stale: Gauge = _gauge(
        "file_stale", "file", text="1 while an older version is in use, because the file there is not usable."
    )
    certificate_expiry: Gauge = _gauge(
        "tls_certificate_expiry_timestamp_seconds",
        text="Unix time when the certificate in use expires; 0 without TLS.",
    )
    # the watchdog's, in monotonic seconds: a frontend says since when a worker owes it its oldest answer (0:
    # owes none) and that its own event loop turns, a worker says when it last made progress. `worker` is the
    # slot that the control channel names.
    outstanding_since: Gauge = _gauge("outstanding_since", "worker", text="", merge="age", hidden=True)
    heartbeat: Gauge = _gauge("heartbeat", text="", merge="max", hidden=True)
    last_progress: Gauge = _gauge("last_progress", "worker", text="", merge="max", hidden=True)

    def __init__(self, layout: Layout, buffer: Any) -> None:
        """buffer: `size(layout)` writable bytes, e.g. an mmap; what it holds is kept."""
        self.layout = layout
        self.cells = memoryview(buffer).cast("B")[: self.size(layout)].cast("d")
        start = 0
        for attribute, series in self.table():
            of_kind = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[series.kind]
            cells = of_kind(series, layout, self.cells, start)
            setattr(self, attribute, cells)
            start += len(cells.first) * series.width

    @classmethod
    def table(cls) -> Iterator[tuple[str, Series]]:
        """Attribute and declaration of every series, in the order of the cells."""
        return ((name, value) for name, value in vars(cls).items() if isinstance(value, Series))

    @classmethod
    def size(cls, layout: Layout) -> int:
        """Bytes of a page."""
        cells = 0
        for _, series in cls.table():
            tuples = 1
            for label in series.kinds:
                tuples *= len(layout.values(label))
            cells += tuples * series.width
        return 8 * cells

    @classmethod
    def local(cls, layout: Layout | None = None) -> Self:
        """In private memory: for the supervisor's own series, and for tests."""
        layout = layout or Layout(models=("m",), devices=("cpu",))
        return cls(layout, bytearray(cls.size(layout)))
