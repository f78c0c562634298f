"""Errors that only HTTP knows, and how each API shows an error.

    what failed                       here              status ─▶ code
    ───────────                       ────              ──────────────
    the request as HTTP               `NotFound` …      `_TABLE`
    all else                          `api/errors.py`   its own table, shared with gRPC

An API's `Shape` makes of either a status and a body. `openai_error` is that of OpenAI and of our own routes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.frontend.api.errors import Code, Entry, ModelNotFound, ServiceError, Violation

__all__ = [
    "BadHttp",
    "ContentTooSlow",
    "HttpError",
    "MethodNotAllowed",
    "Misdirected",
    "NotFound",
    "PayloadTooLarge",
    "Shape",
    "UnsupportedMediaType",
    "openai_detail",
    "openai_error",
    "renamed",
    "retry_headers",
]

Shape = Callable[[ServiceError], tuple[int, Any]]
"""Of an error: the status and a body that is written as JSON."""


class HttpError(ServiceError):
    """An error that has no equivalent over gRPC."""

    @property
    def entry(self) -> Entry:
        """The row of this class."""
        return _TABLE[type(self)]


class BadHttp(HttpError):
    """Bytes that are no HTTP request."""

    default_message = "This is not a valid HTTP request."


class NotFound(HttpError):
    """No such route."""

    default_message = "There is no such route."


class MethodNotAllowed(HttpError):
    """The route has other methods."""

    default_message = "The route does not answer this method."


class ContentTooSlow(HttpError):
    """The body does not arrive in time."""

    default_message = "The request did not arrive in time."


class PayloadTooLarge(HttpError):
    """The body is larger than --http-max-body-bytes."""

    default_message = "The request body is too large."


class UnsupportedMediaType(HttpError):
    """A Content-Type or Content-Encoding that the route does not read."""

    default_message = "The route does not read this content type."


class Misdirected(HttpError):
    """A Host that is not among --http-hosts."""

    default_message = "This server does not answer for this host name."


_TABLE: Mapping[type[HttpError], Entry] = {
    BadHttp: Entry("BAD_REQUEST", Code.INVALID_ARGUMENT, 400),
    NotFound: Entry("NOT_FOUND", Code.NOT_FOUND, 404),
    MethodNotAllowed: Entry("METHOD_NOT_ALLOWED", Code.INVALID_ARGUMENT, 405),
    ContentTooSlow: Entry("REQUEST_TIMEOUT", Code.DEADLINE_EXCEEDED, 408),
    PayloadTooLarge: Entry("PAYLOAD_TOO_LARGE", Code.INVALID_ARGUMENT, 413),
    UnsupportedMediaType: Entry("UNSUPPORTED_MEDIA_TYPE", Code.INVALID_ARGUMENT, 415),
    Misdirected: Entry("MISDIRECTED_REQUEST", Code.INVALID_ARGUMENT, 421),
}

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def openai_error(error: ServiceError) -> tuple[int, Any]:
    """OpenAI's shape, and that of our own routes."""
    return error.entry.http_status, {"error": openai_detail(error), "detail": error.message}


def openai_detail(error: ServiceError) -> dict[str, Any]:
    """message, type, param (the path of the field at fault, or None) and code."""
    status = error.entry.http_status
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = error.violations[0].path if error.violations else None
    if isinstance(error, ModelNotFound):
        param = "model"
    return {
        "message": error.message,
        "type": kind,
        "param": param or None,
        "code": error.entry.reason.lower(),
    }


def retry_headers(status: int, error: ServiceError) -> Sequence[tuple[str, str]]:
    """When to come again, for 429 and 503. For 500 and 504 that it is no use: SDKs would try again."""
    if status in (500, 504):
        return (("x-should-retry", "false"),)
    if status in (429, 503) and error.retry_after is not None:
        milliseconds = max(1, round(error.retry_after * 1000))
        return (
            ("retry-after", str(max(1, math.ceil(error.retry_after)))),
            ("retry-after-ms", str(milliseconds)),
        )
    return ()


def renamed(error: ServiceError, name: Callable[[str], str]) -> ServiceError:
    """The same error with the paths of its fields as the API calls them."""
    if not error.violations or isinstance(error, HttpError):
        return error
    violations = [Violation(name(path), description) for path, description in error.violations]
    message = error.message
    before, after = error.violations[0].path, violations[0].path
    if message.startswith(f"{before}: "):
        message = after + message[len(before) :]
    return type(error)(message, violations=violations, retry_after=error.retry_after, metadata=error.metadata)
