"""Where spans go: to an OpenTelemetry collector by OTLP over gRPC, from a thread with a bounded queue.

    ended spans ─▶ queue, at most OTEL_BSP_MAX_QUEUE_SIZE: others are dropped ─▶ thread ─▶ collector
                                                                        └─ fails: counted, told in the log

A collector that is slow, wrong or away costs a call nothing. What the settings do not say, the variables
OTEL_… of the SDK do. This module is loaded only where tracing is on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from altclip.tracing import names
from altclip.version import VERSION
from service.config.settings import Settings
from service.frontend.calls.tracing import Tracing
from worker.runtime import logs
from worker.runtime.metrics import Metrics

__all__ = ["SpanExport", "open_export"]

SAMPLER = "OTEL_TRACES_SAMPLER"
LOG_SECONDS = 60.0
"""Between two lines about a collector that takes no spans."""

_log = logs.get("tracing")
# It has a line, or a stack, for every try. The one of ours tells the operator the same.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)


class SpanExport:
    """tracing: makes spans that go to the collector."""

    def __init__(self, provider: TracerProvider) -> None:
        self.tracing = Tracing(provider.get_tracer("altclip-server", VERSION))
        self._provider = provider

    async def close(self, seconds: float) -> None:
        """Sends what is left, for so many seconds at most. No span is taken any more."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), seconds)
        except TimeoutError:
            _log.warning("spans_lost", "the collector did not take the last spans in time")
        except Exception as error:
            _log.error("spans_lost", "the last spans could not be sent", error=error)


def open_export(settings: Settings, frontend: int, metrics: Metrics) -> SpanExport | None:
    """Starts the thread that sends spans. frontend: its number.

    None where a variable OTEL_… has a value that the SDK does not take: the frontend serves without tracing.
    """
    try:
        exporter = Counted(OTLPSpanExporter(endpoint=settings.trace_endpoint or None), metrics)
        provider = TracerProvider(sampler(settings), resource(frontend), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except Exception as error:
        _log.error("tracing_failed", "nothing is traced: see the variables OTEL_…", error=error)
        return None
    return SpanExport(provider)


def sampler(settings: Settings) -> Sampler | None:
    """None where the SDK reads it from the environment."""
    return None if os.environ.get(SAMPLER) else ParentBased(TraceIdRatioBased(settings.trace_ratio))


def resource(frontend: int) -> Resource:
    """Who makes the spans. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    ours: dict[str, str | int] = {
        names.SERVICE_NAME: "altclip-server",
        names.SERVICE_VERSION: VERSION,
        names.SERVICE_INSTANCE: str(uuid.uuid4()),
        names.FRONTEND: frontend,
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())


class Counted(SpanExporter):
    """Counts what another exporter has sent, and tells of failures."""

    def __init__(self, below: SpanExporter, metrics: Metrics) -> None:
        self._below = below
        self._metrics = metrics
        self._lost = 0
        self._last_line = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """The SDK's hook; in the sending thread."""
        try:
            result = self._below.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        sent = result is SpanExportResult.SUCCESS
        self._metrics.spans.inc("sent" if sent else "lost", by=len(spans))
        if not sent:
            self._failed(len(spans))
        return result

    def shutdown(self) -> None:
        """The SDK's hook."""
        self._below.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """The SDK's hook."""
        return self._below.force_flush(timeout_millis)

    def _failed(self, count: int) -> None:
        self._lost += count
        if (now := time.monotonic()) - self._last_line >= LOG_SECONDS:
            _log.warning("spans_lost", "the collector takes no spans", count=self._lost)
            self._lost, self._last_line = 0, now
