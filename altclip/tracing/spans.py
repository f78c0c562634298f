"""The client's spans: one for each call that a program makes, and the context that the service goes on with.

The spans go where the program has told OpenTelemetry to send its own. A call in several parts is one span. No
text and no picture gets into a span, and no message of an error, which may quote one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from altclip.errors import AltClipError, ClientUnusable
from altclip.tracing import names
from altclip.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Tracing"]

_SERVICE = "altclip.v1.EmbeddingService"

Headers = tuple[tuple[str, str], ...]


class Tracing:
    """The spans of one client. Raises ClientUnusable where OpenTelemetry is not installed."""

    def __init__(self, address: str) -> None:
        """address: `host:port`, or another target of gRPC."""
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise ClientUnusable("tracing needs OpenTelemetry: pip install 'altclip[tracing]'") from None
        self._trace = trace
        self._tracer = trace.get_tracer("altclip", VERSION)
        self._propagator = TraceContextTextMapPropagator()
        self._server = server_of(address)

    @contextmanager
    def call(self, method: str, model: str, request_id: str) -> Iterator[None]:
        """The span of a call, which is the current one in the block, also in tasks that are made there.

        model: "" for the server's first.
        """
        use = partial(self._trace.use_span, record_exception=False, set_status_on_exception=False)
        with self.stream(method, model, request_id) as span, use(span):
            yield

    @contextmanager
    def stream(self, method: str, model: str, request_id: str) -> Iterator[Span]:
        """The span of a stream, which is not the current one in the block: a generator would let it out."""
        span = self._start(method, model, request_id)
        try:
            yield span
        except Exception as error:
            self._failed(span, error)
            raise
        finally:
            span.end()

    def _start(self, method: str, model: str, request_id: str) -> Span:
        operation = names.OPERATIONS.get(method, names.EMBEDDINGS)
        attributes: dict[str, str | int] = {
            names.OPERATION: operation,
            names.PROVIDER: names.PROVIDER_NAME,
            names.RPC_SYSTEM: names.GRPC,
            names.RPC_METHOD: f"{_SERVICE}/{method}",
            names.REQUEST_ID: request_id,
            **self._server,
        }
        if model:
            attributes[names.REQUEST_MODEL] = model
        kind = self._trace.SpanKind.CLIENT
        return self._tracer.start_span(f"{operation} {model}".strip(), kind=kind, attributes=attributes)

    def _failed(self, span: Span, error: Exception) -> None:
        reason = ""
        if isinstance(error, AltClipError):
            reason = error.reason
            span.set_attribute(names.RPC_STATUS, error.code.name)
        span.set_attribute(names.ERROR_TYPE, reason or type(error).__name__)
        span.set_status(self._trace.StatusCode.ERROR)

    def headers(self, span: Span | None = None) -> Headers:
        """The metadata that carries a span's context, or the current one: none where there is none."""
        carrier: dict[str, str] = {}
        context: Any = None if span is None else self._trace.set_span_in_context(span)
        self._propagator.inject(carrier, context)
        return tuple(carrier.items())


def server_of(address: str) -> dict[str, str | int]:
    """server.address and server.port of a target such as `host:port` or `dns:///host:port`."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isascii() and port.isdigit() and "," not in host:
        return {names.SERVER_ADDRESS: host.strip("[]"), names.SERVER_PORT: int(port)}
    return {names.SERVER_ADDRESS: address}
