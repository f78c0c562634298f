"""Every metric of the service, and the shared page that one process writes. Standard library only.

The body of `Metrics` is the one table of series. A process holds one page of float64 cells, which the
supervisor made and can still read after the process was killed; `service/supervisor/pages.py` adds the pages
up for a scrape. Each series is written by one thread of its process at a time (a cell is read, added to, and
written back: two threads would lose counts).

    metrics.requests.inc("EmbedText", "OK")
    metrics.request_duration.observe(0.012, "EmbedText", "ok")
    metrics.queue_depth.set(3, "m", "text")

All label values are enumerated from the layout, so every series exists at zero from the start. A label value
that is not in the layout is a KeyError: a bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

from worker.runtime.metric_labels import Layout
from worker.runtime.series import Counter, Exemplars, Gauge, Histogram, Merge, Series

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

# Each returns its declaration as `Any`: `Metrics.__init__` puts the cells under the same name. A label may be
# given as "name:kind"; without a kind it has the values of that name.


def _counter(name: str, *labels: str, text: str) -> Any:
    return Series(f"altclip_{name}_total", "counter", text, *_labels(labels))


def _gauge(name: str, *labels: str, text: str, merge: Merge = "sum", hidden: bool = False) -> Any:
    return Series(f"altclip_{name}", "gauge", text, *_labels(labels), merge=merge, hidden=hidden)


def _histogram(name: str, *labels: str, buckets: tuple[float, ...], text: str) -> Any:
    return Series(f"altclip_{name}", "histogram", text, *_labels(labels), buckets)


def _exemplars(name: str, *labels: str, buckets: tuple[float, ...]) -> Any:
    series = f"altclip_{name}_exemplars"
    return Series(series, "exemplars", "", *_labels(labels), buckets, hidden=True)


def _labels(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and kinds."""
    pairs = [label.partition(":")[::2] for label in given]
    return tuple(name for name, _ in pairs), tuple(kind or name for name, kind in pairs)


_KINDS: Final = {"counter": Counter, "gauge": Gauge, "histogram": Histogram, "exemplars": Exemplars}


class Metrics:
    """One process's page. The comment above each group says who writes it."""

    # frontend, transport
    requests: Counter = _counter(
        "requests", "method", "code", text="Calls that ended, by RPC and gRPC status code."
    )
    request_duration: Histogram = _histogram(
        "request_duration_seconds",
        "method",
        "outcome",
        buckets=_SECONDS,
        text="Time from a call's arrival to its end, by RPC and outcome: ok, failed (the caller was told an "
        "error) or cancelled (the caller had gone, or its deadline had passed).",
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
        "outcome",
        buckets=_SECONDS,
        text="Time from an HTTP request's arrival, its body read, to its end, by route and outcome: ok, "
        "failed (the status is an error) or cancelled (the client had gone).",
    )
    # The attribute of a histogram with `_exemplars` after it.
    request_duration_exemplars: Exemplars = _exemplars(
        "request_duration", "method", "outcome", buckets=_SECONDS
    )
    http_request_duration_exemplars: Exemplars = _exemplars(
        "http_request_duration", "route", "outcome", buckets=_SECONDS
    )
    spans: Counter = _counter(
        "spans",
        "outcome:span",
        text="Spans of traced calls: sent to the collector, or lost on the way there.",
    )
    caller_requests: Counter = _counter(
        "caller_requests",
        "caller",
        "code",
        text="Calls that ended, by the name of their API key (anonymous: without a valid one; other: a name "
        "that was added after the start).",
    )
    call_errors: Counter = _counter(
        "call_errors",
        "reason",
        text="Calls of every transport that ended with an error, by the reason that the caller was told "
        "(other: one of HTTP's own).",
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
    frontend_restarts: Counter = _counter("frontend_restarts", text="Frontends that ended and were replaced.")
    memory: Gauge = _gauge(
        "memory_bytes",
        text="Memory in use within the limit that is nearest to being reached: the container's, or the "
        "machine's. Pages of files that can be dropped are left out.",
    )
    memory_limit: Gauge = _gauge(
        "memory_limit_bytes",
        text="That limit. Where it is reached the kernel ends a process of the service, or on Kubernetes the "
        "whole container.",
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
    # number that the control channel names.
    outstanding_since: Gauge = _gauge("outstanding_since", "worker", text="", merge="age", hidden=True)
    heartbeat: Gauge = _gauge("heartbeat", text="", merge="max", hidden=True)
    last_progress: Gauge = _gauge("last_progress", "worker", text="", merge="max", hidden=True)

    def __init__(self, layout: Layout, buffer: Any) -> None:
        """buffer: `size(layout)` writable bytes, e.g. an mmap; what it holds is kept."""
        self.layout = layout
        self.cells = memoryview(buffer).cast("B")[: self.size(layout)].cast("d")
        start = 0
        for attribute, series in self.table():
            of_kind = _KINDS[series.kind]
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
