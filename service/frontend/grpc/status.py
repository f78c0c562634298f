"""A `ServiceError` over gRPC: a google.rpc.Status in the trailers, with exactly one ErrorInfo.

    ErrorInfo    always: reason, domain "altclip", metadata
    BadRequest   where fields are at fault
    RetryInfo    where another try may succeed; for overload also the trailer that stock clients obey

Proxies, and grpc itself, refuse trailers over 8 KB (they travel in base64), so everything is cut to size.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from service.frontend.api.errors import DOMAIN, ServiceError

__all__ = ["DETAILS", "PUSHBACK", "duration", "retry_trailers", "status"]

DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"

_MOST_BYTES = 256
_MOST_VIOLATIONS = 6
_MOST_METADATA = 4


def status(error: ServiceError) -> status_pb2.Status:
    """The error as a google.rpc.Status of well under 8 KB."""
    entry = error.entry
    result = status_pb2.Status(code=int(entry.code), message=short(error.message))
    facts = dict(list(error.metadata.items())[:_MOST_METADATA])
    metadata = {short(name): short(value) for name, value in facts.items()}
    info = error_details_pb2.ErrorInfo(reason=entry.reason, domain=DOMAIN, metadata=metadata)
    result.details.add().Pack(info)
    if error.violations:
        fields = error_details_pb2.BadRequest()
        for violation in error.violations[:_MOST_VIOLATIONS]:
            fields.field_violations.add(
                field=short(violation.path), description=short(violation.description), reason=entry.reason
            )
        result.details.add().Pack(fields)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        duration(retry.retry_delay, error.retry_after)
        result.details.add().Pack(retry)
    return result


def retry_trailers(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """The trailers that tell a stock gRPC client with a retry policy when to try again."""
    if not error.entry.pushback or error.retry_after is None:
        return ()
    return ((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),)


def duration(into: Duration, seconds: float) -> None:
    """Sets a duration to seconds ≥ 0, to the nanosecond. The field is set even where they are 0."""
    into.seconds = whole = int(seconds)
    into.nanos = int((seconds - whole) * 1e9)


def short(text: str) -> str:
    """The text, cut to at most 256 bytes of UTF-8."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _MOST_BYTES:
        return text
    return raw[: _MOST_BYTES - 3].decode("utf-8", "ignore") + "…"
