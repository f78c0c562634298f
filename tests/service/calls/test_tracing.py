"""Spans of calls, as the SDK gets them; whole traces are in tests/e2e/test_tracing.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import StatusCode

from altclip.tracing import names
from service.config.rpcs import CODES
from service.frontend.api.errors import InvalidRequest, QueueFull, ServiceError, WorkerUnavailable
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.calls.lifecycle import Ended, Lifecycle
from service.frontend.calls.trace_context import SpanStart, TraceContext
from service.frontend.calls.tracing import MOST_SPANS, Trace, Tracing
from tests.service.running import line
from worker.runtime import logs
from worker.runtime.metrics import Layout, Metrics

START = SpanStart("package.Service/Method", {names.RPC_SYSTEM: names.GRPC})
SAMPLED = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)


class Spans:
    """A lifecycle, and the spans that its calls leave."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, *, tracing: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(ParentBased(sampler), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider.get_tracer("test"))
        layout = Layout(("m",), ("cpu",), codes=CODES)
        self.lifecycle = Lifecycle(
            Gate(), Callers(), Metrics.local(layout), self._end, self.tracing if tracing else None
        )

    def _end(self, ended: Ended) -> None:
        if ended.trace is not None:
            ended.trace.end()

    def trace(self) -> Trace:
        """Of a call that has begun."""
        call = self.lifecycle.begin("Method", span=START)
        assert call.trace is not None
        return call.trace

    @property
    def seen(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()


@pytest.mark.parametrize(
    ("raised", "kind", "failed"),
    [
        (InvalidRequest.at("texts", "must not be empty"), "INVALID_REQUEST", False),
        (QueueFull(), "QUEUE_FULL", False),
        (WorkerUnavailable(), "WORKER_UNAVAILABLE", True),
        (ZeroDivisionError("what a caller sent"), "INTERNAL", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_is_told_by_its_reason_and_never_in_its_words(
    raised: Exception, kind: str, failed: bool
) -> None:
    spans = Spans()
    spans.lifecycle.failed(spans.lifecycle.begin("Method", span=START), raised)
    (span,) = spans.seen
    assert (span.attributes or {})["error.type"] == kind
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert span.events == ()
    words = str(raised.message if isinstance(raised, ServiceError) else raised)
    assert words not in span.to_json()


def test_a_call_goes_below_its_caller_s_span() -> None:
    spans = Spans()
    spans.lifecycle.answered(spans.lifecycle.begin("Method", span=START, context=SAMPLED))
    (span,) = spans.seen
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == SAMPLED[:2]
    assert span.parent.is_remote


@pytest.mark.parametrize(
    ("sampler", "context", "traced"),
    [
        (ALWAYS_OFF, None, False),
        (ALWAYS_OFF, SAMPLED, True),
        (ALWAYS_ON, SAMPLED._replace(flags=0), False),
        (ALWAYS_ON, None, True),
    ],
    ids=["none", "the caller is", "the caller is not", "all"],
)
def test_the_caller_decides_what_is_sampled_and_otherwise_the_sampler(
    sampler: Sampler, context: TraceContext | None, traced: bool
) -> None:
    call = Spans(sampler).lifecycle.begin("Method", span=START, context=context)
    assert (call.trace is not None) == traced


def test_a_call_without_a_span_to_start_is_not_traced() -> None:
    assert Spans().lifecycle.begin("/healthz").trace is None


@pytest.mark.parametrize("tracing", [True, False], ids=["on", "off"])
def test_the_log_has_the_ids_of_the_span_or_else_those_of_the_caller(
    tracing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    logs.trace.set(None)
    call = Spans(tracing=tracing).lifecycle.begin("Method", span=START, context=SAMPLED)
    logging.getLogger("altclip.test").warning("anything")
    record = line(caplog.records[-1])
    assert record["trace_id"] == SAMPLED.trace_id
    assert record["span_id"] == (call.trace.ids[1] if call.trace is not None else SAMPLED.span_id)
    assert (call.trace is not None) == tracing


def test_a_line_outside_of_traces_has_no_ids(caplog: pytest.LogCaptureFixture) -> None:
    logs.trace.set(None)
    Spans(tracing=False).lifecycle.begin("Method", span=START)
    logging.getLogger("altclip.test").warning("anything")
    assert "trace_id" not in line(caplog.records[-1])


def test_a_bug_in_the_tracing_costs_the_caller_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spans = Spans()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(spans.tracing, "begin", broken)
    call = spans.lifecycle.begin("Method", span=START)
    spans.lifecycle.answered(call)
    assert call.trace is None
    assert "call_not_traced" in [getattr(record, "event", "") for record in caplog.records]


def test_a_span_below_a_call_begins_no_earlier_than_the_call() -> None:
    spans = Spans()
    trace = spans.trace()
    now = time.monotonic()
    trace.add("shared with an earlier call", now - 5, now)
    trace.end()
    below, call = spans.seen
    assert call.start_time is not None
    assert below.start_time is not None
    assert call.start_time <= below.start_time < call.start_time + 10**9


def test_a_call_has_a_bounded_number_of_spans_and_says_how_many_it_lacks() -> None:
    spans = Spans()
    trace = spans.trace()
    for _ in range(MOST_SPANS + 7):
        with trace.part("chunk", {}) as part:
            part.count("items", 2)
    assert trace.full
    trace.end()
    *below, call = spans.seen
    assert len(below) == MOST_SPANS
    assert (call.attributes or {})[names.DROPPED_SPANS] == 7
    assert (call.attributes or {})["items"] == 2 * (MOST_SPANS + 7)


@pytest.mark.parametrize("way", [Trace.phase, Trace.part])
def test_a_phase_that_fails_is_ended(way: Callable[..., Trace]) -> None:
    spans = Spans()
    trace = spans.trace()
    with pytest.raises(ZeroDivisionError), way(trace, "below", {}):  # type: ignore[attr-defined]
        raise ZeroDivisionError("what a caller sent")
    (span,) = spans.seen
    assert span.end_time is not None
    assert "what a caller sent" not in span.to_json()
