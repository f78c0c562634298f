"""Where the spans of the `altclip` command go: to an OpenTelemetry collector, by OTLP over gRPC.

A program that imports the client sets OpenTelemetry up itself. This module is loaded only where the command
shall trace.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from altclip.errors import ClientUnusable
from altclip.tracing import names
from altclip.version import VERSION

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_TIMEOUT
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
except ImportError:
    raise ClientUnusable("tracing needs OpenTelemetry: pip install 'altclip[tracing]'") from None

__all__ = ["exporting"]

SECONDS = 5.0
"""For which the command waits at its end for a collector that is slow or away, unless the variable says."""


@contextmanager
def exporting(endpoint: str, tell: Callable[[str], None]) -> Iterator[None]:
    """In the block, the spans of clients are sent to a collector; what is left is sent at its end.

    endpoint: such as http://collector:4317; "" for what the variables OTEL_… of the SDK say. One that
    `opentelemetry-instrument` has set up already stays. tell: is called with a line where spans could not be
    sent, which changes nothing else. Raises ValueError for a variable that the SDK does not take.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    # It has a line for every try. The one of ours tells the same.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    exporter = _Exporter(endpoint=endpoint or None)
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # The SDK would wait for as long as it tries.
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(float(os.environ.get(OTEL_EXPORTER_OTLP_TIMEOUT) or SECONDS))
        if last.is_alive() or exporter.lost:
            tell("altclip: the collector did not take all spans")


class _Exporter(OTLPSpanExporter):
    """Counts the spans that it could not send."""

    lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """The SDK's hook; in the sending thread."""
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.lost += len(spans)
        return result


def _resource() -> Resource:
    """Who makes the spans. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    ours = {names.SERVICE_NAME: "altclip", names.SERVICE_VERSION: VERSION}
    return Resource.create(ours).merge(OTELResourceDetector().detect())
