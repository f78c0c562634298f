"""Batches that hold items of traced calls have a span, and each of those items knows its way."""

from __future__ import annotations

import numpy as np
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from altclip.tracing import names
from service.frontend.calls.trace_context import SpanStart
from service.frontend.calls.tracing import Trace, Tracing
from service.frontend.compute.batches import batches, trace_batches
from service.frontend.compute.flights import Flight, Journey, WorkItem
from worker.runtime.notices import Modality, Priority, Result, Status

COSTS = (40, 10, 40)
"""What a batch may hold."""


class Spans:
    """Traced calls, and the spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider.get_tracer("test"))

    def call(self) -> Trace:
        trace = self.tracing.begin(SpanStart("call", {}), None)
        assert trace is not None
        return trace


def text(*calls: Trace) -> Flight:
    """A text of five tokens, submitted after 10 s, that these calls want."""
    flight = Flight(WorkItem(Modality.TEXT, np.ones(5, np.int32)), Priority.INTERACTIVE, None)
    flight.submitted = 10.0
    for call in calls:
        flight.traced_by(call)
    return flight


def result(of: int, status: Status = Status.OK) -> Result:
    """It waited for two seconds, and its batch took one."""
    return Result(1, 2.0, 1.0, of, status)


def test_a_batch_is_linked_to_every_traced_call_in_it_once() -> None:
    spans = Spans()
    one, two = spans.call(), spans.call()
    flights = [text(one), text(one, two), text(), text(two)]
    trace_batches(spans.tracing, [(flight, result(4)) for flight in flights], COSTS, "cpu")
    (batch,) = spans.exporter.get_finished_spans()
    assert [link.context for link in batch.links] == [one.context, two.context]
    assert batch.parent == one.context
    assert batch.attributes == {
        names.MODALITY: "text",
        names.BATCH_SIZE: 4,
        names.BATCH_FILL: 0.5,
        names.DEVICE: "cpu",
    }
    assert (batch.end_time or 0) - (batch.start_time or 0) == 1_000_000_000
    assert flights[2].journey is None
    for flight in (flights[0], flights[1], flights[3]):
        assert flight.journey is not None
        assert flight.journey[:2] == (10.0, 12.0)
        assert flight.journey.batch is not None
        assert flight.journey.batch.span.span_id == batch.context.span_id


def test_the_items_of_other_frontends_are_taken_to_be_as_long_as_ours() -> None:
    spans = Spans()
    trace_batches(spans.tracing, [(text(spans.call()), result(4))], COSTS, "cpu")
    (batch,) = spans.exporter.get_finished_spans()
    assert (batch.attributes or {})[names.BATCH_FILL] == 0.5


def test_a_batch_without_a_traced_call_has_no_span() -> None:
    spans = Spans()
    traced, plain = text(spans.call()), text()
    answers = [(plain, result(1)), (traced, result(2))]  # two batches
    trace_batches(spans.tracing, answers, COSTS, "cpu")
    assert len(spans.exporter.get_finished_spans()) == 1


def test_an_item_that_was_not_computed_says_why() -> None:
    spans = Spans()
    late, bad = text(spans.call()), text(spans.call())
    answers = [(late, result(0, Status.EXPIRED)), (bad, result(0, Status.FAILED))]
    trace_batches(spans.tracing, answers, COSTS, "cpu")
    assert spans.exporter.get_finished_spans() == ()
    assert late.journey == Journey(10.0, 12.0, None, "DEADLINE_TOO_SHORT")
    assert bad.journey == Journey(10.0, 12.0, None, "INTERNAL")


def test_answers_of_several_batches_that_come_together_are_told_apart() -> None:
    answers = [
        (text(), result(2)),
        (text(), result(2)),
        (text(), result(1, Status.FAILED)),
        (text(), result(3)),
        (text(), Result(1, 2.0, 0.5, 3, Status.OK)),
    ]
    found = [(batch.items, batch.of, batch.seconds) for batch in batches(answers, COSTS)]
    assert found == [(2, 2, 1.0), (1, 3, 1.0), (1, 3, 0.5)]
