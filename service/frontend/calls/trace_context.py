"""W3C Trace Context: the ids of a trace that a caller sends along. Pure; imports no OpenTelemetry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["SpanStart", "TraceContext", "parse"]

LONGEST_STATE = 512
"""Characters of a tracestate; a longer one is left out."""

# Versions after 00 may add fields at the end.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """trace_id, span_id: 32 and 16 hex digits; the span is the caller's. flags: the lowest bit says whether
    the caller is sampled. state: the tracestate."""

    trace_id: str
    span_id: str
    flags: int
    state: str = ""


class SpanStart(NamedTuple):
    """What a transport knows of a call's span when the call begins."""

    name: str
    attributes: Mapping[str, str]


def parse(traceparent: str | bytes, tracestate: str | bytes = "") -> TraceContext | None:
    """The context in these headers; None where the first one is no valid traceparent."""
    match = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    if not match[2].strip("0") or not match[3].strip("0"):
        return None
    state = tracestate if isinstance(tracestate, str) and len(tracestate) <= LONGEST_STATE else ""
    return TraceContext(match[2], match[3], int(match[4], 16), state)
