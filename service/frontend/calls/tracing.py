"""The spans of one frontend: one for each call that is traced, and those below it.

    traceparent ─▶ Tracing.begin ─▶ Trace, on the call ─▶ phases, parts and spans below it ─▶ end
                        └─ None: the call is not sampled, and nothing more is done for it

Workers make no spans. Theirs are made here, from the times that every result carries.

No span gets a text, an image, a key or the message of an error, which may quote one. This module is loaded
only where tracing is on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from altclip.tracing import names
from service.frontend.api.errors import ServiceError
from service.frontend.calls.trace_context import SpanStart, TraceContext

__all__ = ["MOST_SPANS", "Attributes", "Trace", "Tracing"]

MOST_SPANS = 200
"""Spans below one call. A stream of millions of items has no more; the call's span says how many it lacks."""

# Codes that say that the server failed. Of the others the caller is the cause, and its own span is the error.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Attributes = Mapping[str, str | int | float]


class Trace:
    """An open span of a sampled call, and what goes below it. Times are time.monotonic() seconds."""

    def __init__(self, tracer: Tracer, span: Span, root: Trace | None = None) -> None:
        """root: the trace of the call, where this is a part of it."""
        self.started = time.monotonic()
        self.context = span.get_span_context()
        self._tracer = tracer
        self._span = span
        self._below = set_span_in_context(span, Context())
        self._clock = _clock()
        self._root = self if root is None else root
        self._left = MOST_SPANS
        self._dropped = 0
        self._totals: dict[str, int] = {}

    @property
    def ids(self) -> tuple[str, str]:
        """The trace's and the span's, in hex digits."""
        return f"{self.context.trace_id:032x}", f"{self.context.span_id:016x}"

    @property
    def full(self) -> bool:
        """Whether the call has as many spans as it may have."""
        return self._root._left == 0

    def set(self, attributes: Attributes) -> None:
        """Adds attributes to the span."""
        self._span.set_attributes(attributes)

    def count(self, name: str, by: int) -> None:
        """Adds to an attribute of the call's span, which is set when the call ends."""
        totals = self._root._totals
        totals[name] = totals.get(name, 0) + by

    def add(
        self,
        name: str,
        started: float,
        ended: float,
        attributes: Attributes | None = None,
        links: Sequence[SpanContext] = (),
        error: str = "",
    ) -> None:
        """Adds a span that has ended. It begins no earlier than the one above it. error: its `error.type`."""
        if not self._room():
            return
        started = max(started, self.started)
        span = self._tracer.start_span(
            name,
            self._below,
            attributes=attributes,
            links=[Link(context) for context in links],
            start_time=self._nanoseconds(started),
        )
        if error:
            _fail(span, error)
        span.end(self._nanoseconds(max(started, ended)))

    @contextmanager
    def phase(self, name: str, attributes: Attributes) -> Iterator[None]:
        """A span of the block."""
        started, error = time.monotonic(), ""
        try:
            yield
        except BaseException as raised:
            error = raised.entry.reason if isinstance(raised, ServiceError) else type(raised).__name__
            raise
        finally:
            self.add(name, started, time.monotonic(), attributes, error=error)

    @contextmanager
    def part(self, name: str, attributes: Attributes) -> Iterator[Trace]:
        """A span of the block that others go below."""
        if not self._room():
            yield self
            return
        span = self._tracer.start_span(name, self._below, attributes=attributes)
        try:
            yield Trace(self._tracer, span, self._root)
        finally:
            span.end()

    def outcome(self, code: str, reason: str) -> None:
        """How the call ends. code: the name of its gRPC status. reason: of its error, "" without one."""
        if code != "OK":
            self._span.set_attribute(names.ERROR_TYPE, reason or code)
        if code in _FAULTS:
            self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        """The call has ended."""
        if self._dropped:
            self._totals[names.DROPPED_SPANS] = self._dropped
        self._span.set_attributes(self._totals)
        self._span.end()

    def _room(self) -> bool:
        """Takes the place of one span; False where the call has as many as it may have."""
        root = self._root
        if self.full:
            root._dropped += 1
            return False
        root._left -= 1
        return True

    def _nanoseconds(self, moment: float) -> int:
        return self._clock + int(moment * 1e9)


class Tracing:
    """Makes the spans of a frontend's calls and of the batches that they are in."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, start: SpanStart, context: TraceContext | None) -> Trace | None:
        """The trace of a call; None where it is not sampled. context: the caller's."""
        above = Context() if context is None else _context(context)
        span = self._tracer.start_span(start.name, above, SpanKind.SERVER, start.attributes)
        return Trace(self._tracer, span) if span.is_recording() else None

    def batch(
        self, started: float, ended: float, attributes: Attributes, calls: Sequence[SpanContext]
    ) -> SpanContext:
        """A batch that has ended. calls: the spans that have items in it, one or more.

        Returns its context, so that what is made for those calls can be linked to it. It goes below the first
        of them, and so is sampled as they are: a link that leads to nothing is of no use.
        """
        above = set_span_in_context(NonRecordingSpan(calls[0]), Context())
        clock = _clock()
        span = self._tracer.start_span(
            names.BATCH,
            above,
            attributes=attributes,
            links=[Link(context) for context in {each.span_id: each for each in calls}.values()],
            start_time=clock + int(started * 1e9),
        )
        span.end(clock + int(ended * 1e9))
        return span.get_span_context()


def _clock() -> int:
    """Unix time in nanoseconds when time.monotonic() was 0."""
    # Where the process stands still between the two clocks, the difference is too small.
    return max(time.time_ns() - time.monotonic_ns() for _ in range(2))


def _context(given: TraceContext) -> Context:
    ids = int(given.trace_id, 16), int(given.span_id, 16)
    span = SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(given.flags))
    return set_span_in_context(NonRecordingSpan(span), Context())


def _fail(span: Span, error: str) -> None:
    span.set_attribute(names.ERROR_TYPE, error)
    span.set_status(StatusCode.ERROR)
