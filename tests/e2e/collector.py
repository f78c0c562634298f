"""An OpenTelemetry collector for tests: a real gRPC server that takes spans by OTLP and keeps them.

with collector() as running:
    start_server("--tracing", "on", "--trace-endpoint", running.endpoint)
    running.wait_for(lambda spans: len(spans) == 3)
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor


@dataclass(frozen=True)
class Seen:
    """A span that came. Ids in hex digits; parent "" for none. links: (trace, span). Times in nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    links: Sequence[tuple[str, str]]
    resource: dict[str, Any]


class Collector(pb_grpc.TraceServiceServicer):
    """endpoint: for exporters. raw: all messages that came, as they came."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.raw: list[bytes] = []
        self._spans: list[Seen] = []
        self._changed = threading.Condition(threading.RLock())

    def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> pb.ExportTraceServiceResponse:
        """gRPC's hook."""
        with self._changed:
            self.raw.append(request.SerializeToString())
            self._spans += _spans(request)
            self._changed.notify_all()
        return pb.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Seen]:
        with self._changed:
            return [*self._spans]

    def of(self, trace_id: str) -> list[Seen]:
        """The spans of one trace, so far."""
        return [span for span in self.spans if span.trace == trace_id]

    def wait_for(self, condition: Callable[[Sequence[Seen]], object], seconds: float = 60.0) -> list[Seen]:
        """All spans, once it holds for them; AssertionError if that does not come."""
        with self._changed:
            self._changed.wait_for(lambda: condition(self._spans), seconds)
            assert condition(self._spans), f"only {[(span.name, span.trace) for span in self._spans]} came"
            return [*self._spans]

    def wait_for_trace(self, trace_id: str, *names: str, seconds: float = 60.0) -> list[Seen]:
        """The spans of one trace, once there is one with each of these names."""

        def complete(spans: Sequence[Seen]) -> bool:
            return set(names) <= {span.name for span in spans if span.trace == trace_id}

        return [span for span in self.wait_for(complete, seconds) if span.trace == trace_id]

    def wait_for_whole(self, trace_id: str) -> list[Seen]:
        """The spans of one trace, once the parent of each has come, too."""

        def whole(spans: Sequence[Seen]) -> bool:
            own = [span for span in spans if span.trace == trace_id]
            return bool(own) and {span.parent for span in own} <= {"", *(span.id for span in own)}

        return [span for span in self.wait_for(whole) if span.trace == trace_id]


@contextlib.contextmanager
def collector(address: str = "127.0.0.1:0") -> Iterator[Collector]:
    """Listens, by default on a free port."""
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_TraceServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call]
    made.endpoint = f"http://127.0.0.1:{server.add_insecure_port(address)}"
    server.start()
    try:
        yield made
    finally:
        server.stop(None).wait()


@functools.cache
def provider() -> TracerProvider:
    """Where the spans of this process go: a process has one provider."""
    made = TracerProvider(resource=Resource({"service.name": "the test"}), shutdown_on_exit=False)
    trace.set_tracer_provider(made)
    return made


@contextlib.contextmanager
def sending_to(running: Collector) -> Iterator[None]:
    """The spans of this process go there, each as it ends."""
    processor = SimpleSpanProcessor(OTLPSpanExporter(endpoint=running.endpoint))
    provider().add_span_processor(processor)
    yield
    processor.shutdown()


@contextlib.contextmanager
def application_span(name: str = "application") -> Iterator[str]:
    """A span of the program that calls, the current one in the block; gives its trace's id."""
    with provider().get_tracer("test").start_as_current_span(name) as span:
        yield f"{span.get_span_context().trace_id:032x}"


def the(spans: Sequence[Seen], name: str) -> Seen:
    """The one span of that name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def parents(spans: Sequence[Seen], name: str) -> list[str]:
    """The names above a span, from its parent to the top."""
    by_id = {span.id: span for span in spans}
    found, span = [], next(span for span in spans if span.name == name)
    while span.parent:
        span = by_id[span.parent]
        found.append(span.name)
    return found


def _spans(request: pb.ExportTraceServiceRequest) -> Iterator[Seen]:
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=span.kind,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    failed=span.status.code == 2,
                    attributes=_values(span.attributes),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    resource=resource,
                )


def _values(attributes: Sequence[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes
    }
