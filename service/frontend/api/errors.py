"""Every error that may reach a caller, and the one table that says how. Imports `worker.errors` only.

    what failed            exception            reason ─▶ gRPC code, HTTP status
    ───────────            ─────────            ────────────────────────────────
    the caller's input     InvalidRequest …     `TABLE`
    an image's bytes       worker.errors.*   ─▶ `from_exception` makes it one of ours
    our own bug            anything else     ─▶ `Internal`, which tells the caller nothing

Every transport translates a `ServiceError` by its `entry`. Its message is for the caller: it must never hold
anything internal to the server, a text or an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from worker import errors as worker_errors

__all__ = [
    "DOMAIN",
    "ENDINGS",
    "TABLE",
    "Code",
    "DeadlineTooShort",
    "Draining",
    "Entry",
    "ImageTooLarge",
    "Internal",
    "InvalidRequest",
    "ModelNotFound",
    "PermissionDenied",
    "QueueFull",
    "QuotaExceeded",
    "ServiceError",
    "TextTooLong",
    "Unauthenticated",
    "UndecodableImage",
    "UnsupportedImage",
    "UriFetchFailed",
    "UriNotAllowed",
    "Violation",
    "WorkerUnavailable",
    "from_exception",
]

DOMAIN = "altclip"

ENDINGS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What is raised where the process ends, or nobody waits for a coroutine any more. Any other BaseException is
a failure like every Exception: Rust's panics are such, and a caller that is told of none waits for ever."""


class Code(IntEnum):
    """The gRPC status codes in use, by their numbers; the names are those of `grpc.StatusCode`."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Violation(NamedTuple):
    """A field at fault: its path, such as "images[3].content", and what is wrong with it."""

    path: str
    description: str


class ServiceError(Exception):
    """An expected error: safe to show, and translated by `TABLE`.

    violations: the fields at fault. retry_after: seconds until another try may succeed, None if none can.
    metadata: facts for programs, such as the host of a refused address.
    """

    default_message = "The call failed."
    default_retry_after: float | None = None

    def __init__(
        self,
        message: str = "",
        *,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or self.default_message
        self.violations = tuple(violations)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.metadata = dict(metadata or {})
        super().__init__(self.message)

    @property
    def entry(self) -> Entry:
        """The row of `TABLE` for this class."""
        return TABLE[type(self)]

    @classmethod
    def at(cls, path: str, description: str, metadata: Mapping[str, str] | None = None) -> Self:
        """An error of one field; the message is "path: description"."""
        return cls(f"{path}: {description}", violations=[Violation(path, description)], metadata=metadata)


class InvalidRequest(ServiceError):
    """A field is missing, superfluous or out of range."""

    default_message = "The request is not valid."


class UndecodableImage(ServiceError):
    """The bytes are no picture, or a damaged one."""

    default_message = "The image cannot be decoded."


class ImageTooLarge(ServiceError):
    """The image has more bytes or pixels than are accepted."""

    default_message = "The image is too large."


class UnsupportedImage(ServiceError):
    """The image has a known format that is not accepted."""

    default_message = "The image's format is not supported."


class TextTooLong(ServiceError):
    """The text is over the byte limit, or over the token limit where the caller refused truncation."""

    default_message = "The text is too long."


class UriNotAllowed(ServiceError):
    """This server does not fetch the address."""

    default_message = "The server does not fetch this address."


class UriFetchFailed(ServiceError):
    """The address gave no picture."""

    default_message = "The address could not be fetched."


class ModelNotFound(ServiceError):
    """There is no model of that name."""

    default_message = "There is no such model; ListModels tells which there are."


class Unauthenticated(ServiceError):
    """The call has no API key, or an unknown one."""

    default_message = "A valid API key is needed."


class PermissionDenied(ServiceError):
    """The API key does not allow this."""

    default_message = "The API key does not allow this."


class QueueFull(ServiceError):
    """Too much work is waiting."""

    default_message = "Too much work is waiting; try again later."
    default_retry_after = 1.0


class QuotaExceeded(ServiceError):
    """The quota of the API key is used up."""

    default_message = "The quota of this API key is used up; try again later."
    default_retry_after = 1.0


class DeadlineTooShort(ServiceError):
    """The time until the deadline does not suffice, or the deadline has passed."""

    default_message = "The call cannot be done in the time that is left."


class WorkerUnavailable(ServiceError):
    """No worker of this model is ready, or the one that had the work died."""

    default_message = "The model is loading or was restarted; try again."
    default_retry_after = 1.0


class Draining(ServiceError):
    """This server is shutting down."""

    default_message = "The server is shutting down; another one will answer."
    default_retry_after = 0.5
    """Longer than connections stay open, or the call would come again in the moment when they are closed."""


class Internal(ServiceError):
    """The server has a bug. The caller learns nothing but the request id; the log has the rest."""

    default_message = "The server failed; its log has more under this request's x-request-id."


@dataclass(frozen=True, slots=True)
class Entry:
    """How callers see one kind of error. pushback: a stock gRPC client is told when to try again."""

    reason: str
    code: Code
    http_status: int
    pushback: bool = False


TABLE: Mapping[type[ServiceError], Entry] = {
    InvalidRequest: Entry("INVALID_REQUEST", Code.INVALID_ARGUMENT, 400),
    UndecodableImage: Entry("UNDECODABLE_IMAGE", Code.INVALID_ARGUMENT, 400),
    ImageTooLarge: Entry("IMAGE_TOO_LARGE", Code.INVALID_ARGUMENT, 400),
    UnsupportedImage: Entry("UNSUPPORTED_IMAGE", Code.INVALID_ARGUMENT, 400),
    TextTooLong: Entry("TEXT_TOO_LONG", Code.INVALID_ARGUMENT, 400),
    UriNotAllowed: Entry("URI_NOT_ALLOWED", Code.INVALID_ARGUMENT, 400),
    UriFetchFailed: Entry("URI_FETCH_FAILED", Code.INVALID_ARGUMENT, 400),
    ModelNotFound: Entry("MODEL_NOT_FOUND", Code.NOT_FOUND, 404),
    Unauthenticated: Entry("UNAUTHENTICATED", Code.UNAUTHENTICATED, 401),
    PermissionDenied: Entry("PERMISSION_DENIED", Code.PERMISSION_DENIED, 403),
    QueueFull: Entry("QUEUE_FULL", Code.RESOURCE_EXHAUSTED, 429, pushback=True),
    QuotaExceeded: Entry("QUOTA_EXCEEDED", Code.RESOURCE_EXHAUSTED, 429, pushback=True),
    DeadlineTooShort: Entry("DEADLINE_TOO_SHORT", Code.DEADLINE_EXCEEDED, 504),
    WorkerUnavailable: Entry("WORKER_UNAVAILABLE", Code.UNAVAILABLE, 503),
    Draining: Entry("DRAINING", Code.UNAVAILABLE, 503, pushback=True),
    Internal: Entry("INTERNAL", Code.INTERNAL, 500),
}

IMAGE_ERRORS: Mapping[type[worker_errors.ImageError], type[ServiceError]] = {
    worker_errors.UndecodableImage: UndecodableImage,
    worker_errors.UnsupportedImage: UnsupportedImage,
    worker_errors.ImageTooLarge: ImageTooLarge,
}


def from_exception(error: BaseException, path: str = "") -> ServiceError:
    """The error that the caller is told. path: the field at fault; only image errors use it."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, worker_errors.ImageError):
        ours = IMAGE_ERRORS.get(type(error), UndecodableImage)
        return ours.at(path, str(error)) if path else ours(str(error))
    return Internal()
