"""W3C Trace Context: the ids of a trace that a caller sends along. Pure; imports no OpenTelemetry.

A tracestate is not read: it may hold anything, nothing here depends on it, and spans must not carry it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["SpanStart", "TraceContext", "parse"]

# Versions after 00 may add fields at the end.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """trace_id, span_id: 32 and 16 hex digits; the span is the caller's. flags: the lowest bit says whether
    the caller is sampled."""

    trace_id: str
    span_id: str
    flags: int


class SpanStart(NamedTuple):
    """What a transport knows of a call's span when the call begins."""

    name: str
    attributes: Mapping[str, str]


def parse(traceparent: str | bytes) -> TraceContext | None:
    """The context in this header; None where it is no valid traceparent."""
    match = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    if not match[2].strip("0") or not match[3].strip("0"):
        return None
    return TraceContext(match[2], match[3], int(match[4], 16))
