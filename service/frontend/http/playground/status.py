"""What the live strip shows: how busy the whole server is, and the models that a caller may use.

The numbers are those of /metrics, added up by the supervisor once a second. Speed is that of the calls of the
last minute: each look is kept for so long, and a later one compared with it.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from altclip.version import VERSION
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.core.model import Model
from worker.models.sources import BUNDLED
from worker.runtime.metrics import Histogram, Metrics

__all__ = ["Look", "Looks", "Speed", "describe", "look", "quantile", "speed"]

WINDOW_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""A look that comes sooner after another is not kept."""
_NO_CALLS = frozenset({"/", "/playground/status", "/playground/{file}", "/openapi.json", "/docs", "other"})
_PROBES = frozenset({"/healthz", "/readyz", "/health", "/ping", "/info", "/meta"})


@dataclass(frozen=True, slots=True)
class Look:
    """Counts since the start, at a monotonic second.

    calls: how many ended in each bucket of `bounds` and above. batches: how many. batched: their items.
    """

    at: float
    bounds: Sequence[float]
    calls: Sequence[float]
    batches: float
    batched: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Of the calls between two looks. p50, p99: seconds; None without calls. batch_size: items, None without
    batches. window: seconds."""

    calls: int
    p50: float | None
    p99: float | None
    batch_size: float | None
    window: float


def look(totals: Metrics, now: float) -> Look:
    """Reads the counts; zeros where nothing is counted yet."""
    durations = _sums(totals.request_duration)
    for number, count in enumerate(_sums(totals.http_request_duration, without=_NO_CALLS | _PROBES)):
        durations[number] += count
    batches = _sums(totals.batch_size)
    return Look(now, totals.request_duration.series.buckets, durations[:-1], sum(batches[:-1]), batches[-1])


def _sums(histogram: Histogram, without: frozenset[str] = frozenset()) -> list[float]:
    width = histogram.series.width
    rows = [
        histogram.cells[first : first + width]
        for labels, first in histogram.first.items()
        if not without & {*labels}
    ]
    return [sum(column) for column in zip([0.0] * width, *rows, strict=True)]


def speed(before: Look, after: Look) -> Speed:
    """What happened between two looks."""
    calls = [max(0.0, new - old) for old, new in zip(before.calls, after.calls, strict=True)]
    batches = after.batches - before.batches
    return Speed(
        calls=int(sum(calls)),
        p50=quantile(0.5, after.bounds, calls),
        p99=quantile(0.99, after.bounds, calls),
        batch_size=(after.batched - before.batched) / batches if batches > 0 else None,
        window=after.at - before.at,
    )


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """As Prometheus's histogram_quantile: linear within a bucket. Above the last bound it is that bound.

    counts: of each bucket, and one more for what is above the last bound. None where all are 0.
    """
    rank = share * sum(counts)
    if rank <= 0:
        return None
    below = 0.0
    for (low, high), count in zip(itertools.pairwise([0.0, *bounds]), counts, strict=False):
        if count and below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return bounds[-1]


class Looks:
    """The looks of the last minute. The first of all is compared with the start of the server."""

    def __init__(self, totals: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._totals = totals
        self._clock = clock
        first = look(totals, clock())
        nothing = Look(first.at, first.bounds, [0.0] * len(first.calls), 0.0, 0.0)
        self._kept = deque([nothing])

    def speed(self) -> Speed:
        """Since the oldest look of the last minute; without one, since the last look before."""
        now = look(self._totals, self._clock())
        while len(self._kept) > 1 and self._kept[0].at < now.at - WINDOW_SECONDS:
            self._kept.popleft()
        if now.at - self._kept[-1].at >= LOOK_SECONDS:
            self._kept.append(now)
        return speed(self._kept[0], now)


def describe(core: Core, call: Call, looks: Looks, *, ready: bool) -> dict[str, Any]:
    """The answer of /playground/status."""
    settings, queue = core.settings, core.totals.queue_depth
    return {
        "ready": ready,
        "version": VERSION,
        "grpc_port": int(settings.grpc_address.rpartition(":")[2]),
        "keys": settings.wants_keys,
        "queue_depth": int(sum(queue.value(*labels) for labels in queue.first)),
        **asdict(looks.speed()),
        "max_items": settings.http_max_items,
        "max_body_bytes": settings.http_max_body_bytes,
        "models": [_model(model) for model in core if call.grant.permits(model.name)],
    }


def _model(model: Model) -> dict[str, Any]:
    """kind: `bundled`, `stub`, or the family."""
    pool, limits = model.pool, model.limits
    spec, info = pool.spec, pool.info
    return {
        "name": spec.name,
        "kind": "bundled" if spec.source == BUNDLED else spec.model_type,
        "languages": spec.languages,
        "dimension": spec.dimension,
        "max_tokens": spec.max_tokens,
        "device": ", ".join(pool.devices),
        "dtype": info.dtype if info else "",
        "logit_scale": info.logit_scale if info else None,
        "revision": pool.revision,
        "ready": pool.ready,
        "max_images": limits.max_images,
        "max_labels": limits.max_labels,
        "max_text_bytes": limits.max_text_bytes,
        "max_image_bytes": limits.max_image_bytes,
        "max_image_pixels": limits.max_image_pixels,
    }
