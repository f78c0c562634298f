"""What a call can end with: one exception class for each thing that a caller would do differently.

The server's errors are `google.rpc.Status` messages with one `ErrorInfo` (its `reason` picks the class), a
`BadRequest` that names the fields, and a `RetryInfo` where another try can help. What gRPC itself reports (no
connection, a deadline, a message over the size limit) has no details and is told apart by its code;
`calls/status.py` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that the server did not accept.

    Attributes:
        field: Its path, such as `images[3].content`.
        description: What is wrong with it.

    >>> try:
    ...     client.embed_image([Path("cat.png"), b"no image"])
    ... except InvalidImage as error:
    ...     print(error.fields[0].field)
    images[1].content
    """

    field: str
    description: str


class AltClipError(Exception):
    """What every failure of a client is.

    Only these are Python's own: TypeError for an argument of a wrong type, OSError for a file that cannot be
    read, and what the caller's own iterator raises.

    Attributes:
        reason: The server's reason, such as `QUEUE_FULL`; empty where gRPC itself or a proxy refused the
            call.
        code: The gRPC status code.
        message: What the server says, for people.
        fields: The fields at fault, for an invalid request.
        retry_after: Seconds after which another try is welcome; None where the server does not say.
        request_id: The call's `x-request-id`; the server's log has it too.
        metadata: What else the server tells, such as the host of an address that could not be fetched.

    >>> try:
    ...     client.embed_text("a cat", model="dog")
    ... except AltClipError as error:
    ...     print(error.reason, error.retryable)
    MODEL_NOT_FOUND False
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: grpc.StatusCode | None = None,
        fields: Iterable[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code or type(self).code
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.request_id = request_id
        self.metadata = dict(metadata or {})

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a change."""
        return self.retry_after is not None

    def __str__(self) -> str:
        text = f"{self.reason or self.code.name}: {self.message}"
        for violation in self.fields:
            if violation.field not in self.message:
                text += f" ({violation.field}: {violation.description})"
        if self.retry_after is not None:
            text += f"; try again in {self.retry_after:.3g} s"
        return f"{text} [request {self.request_id}]" if self.request_id else text

    def shifted(self, field: str, offset: int) -> Self:
        """Counts the indices of one repeated field from where a split call's part began; returns itself."""

        def shift(text: str) -> str:
            return re.sub(rf"\b{field}\[(\d+)\]", lambda match: f"{field}[{int(match[1]) + offset}]", text)

        self.message = shift(self.message)
        self.fields = tuple(FieldViolation(shift(v.field), shift(v.description)) for v in self.fields)
        self.args = (self.message,)
        return self


class InvalidRequest(AltClipError):
    """The request cannot be answered as it is; `fields` names what to change.

    >>> client.embed_text([])
    Traceback (most recent call last):
    altclip.errors.InvalidRequest: INVALID_REQUEST: texts: ...
    """

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason_here = "INVALID_REQUEST"
    """The reason where this package finds the fault itself, before anything is sent."""

    @classmethod
    def at(cls, field: str, description: str) -> Self:
        """The error of one argument, or of one element of it such as `texts[3]`."""
        violation = FieldViolation(field, description)
        return cls(f"{field}: {description}", reason=cls.reason_here, fields=[violation])


class InvalidImage(InvalidRequest):
    """A picture is damaged, too large, or of a format that is not accepted.

    >>> client.embed_image(b"no image")
    Traceback (most recent call last):
    altclip.errors.InvalidImage: UNDECODABLE_IMAGE: images[0].content: not an image of a known format...
    """


class TextTooLong(InvalidRequest):
    """A text is over the byte limit, or over the model's tokens with `truncation="reject"`.

    >>> client.embed_text("cat " * 100, truncation="reject")
    Traceback (most recent call last):
    altclip.errors.TextTooLong: TEXT_TOO_LONG: texts[0]: is longer than ...
    """


class UriRejected(InvalidRequest):
    """The server does not fetch this address, or could not.

    >>> client.embed_image(Uri("https://example.org/cat.png"))
    Traceback (most recent call last):
    altclip.errors.UriRejected: URI_NOT_ALLOWED: ...
    """


class InvalidArgument(InvalidRequest, ValueError):
    """An argument cannot be sent as it is, such as a text that is not Unicode; nothing was sent.

    >>> client.embed_text("a cat", encoding="float8")
    Traceback (most recent call last):
    altclip.errors.InvalidArgument: INVALID_REQUEST: encoding: 'float8' is none of float32, float16, ...
    """


class UnreadableInput(InvalidRequest):
    """A picture, or an item of a stream, could not be read on this side; the server never saw it.

    >>> with open("cat.png", "rb") as file:
    ...     content = file.read()
    ...     client.embed_image(file)  # which stands at its end now
    Traceback (most recent call last):
    altclip.errors.UnreadableInput: UNREADABLE_INPUT: images[0]: nothing is left to read in the file...
    """

    reason_here = "UNREADABLE_INPUT"


class MessageTooLarge(InvalidRequest):
    """The request or the answer is over the size limit of a message: send less at once. Never retried.

    >>> client.embed_image(bytes(50_000_000))
    Traceback (most recent call last):
    altclip.errors.MessageTooLarge: MESSAGE_TOO_LARGE: images[0]: a message of 50,000,... bytes, ...
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason_here = "MESSAGE_TOO_LARGE"


class ModelNotFound(AltClipError):
    """No model of this name; `list_models` tells which there are.

    >>> client.embed_text("a cat", model="dog")
    Traceback (most recent call last):
    altclip.errors.ModelNotFound: MODEL_NOT_FOUND: model: there is no 'dog'...
    """

    code = grpc.StatusCode.NOT_FOUND


class Unauthenticated(AltClipError):
    """The server wants an API key, or does not know this one.

    >>> without_key.embed_text("a cat")
    Traceback (most recent call last):
    altclip.errors.Unauthenticated: UNAUTHENTICATED: ...
    """

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(AltClipError):
    """The API key does not cover this model.

    >>> with_key.embed_text("a cat", model="m9")
    Traceback (most recent call last):
    altclip.errors.PermissionDenied: PERMISSION_DENIED: ...
    """

    code = grpc.StatusCode.PERMISSION_DENIED


class Overloaded(AltClipError):
    """Too much work is waiting, or the caller's share is used up, and the channel's retries did not help.

    >>> try:
    ...     busy.embed_text("a cat")
    ... except Overloaded as error:
    ...     print(error.reason, error.retry_after)
    QUEUE_FULL 0.5
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(AltClipError):
    """No server could be reached, its model is loading, or it is shutting down.

    >>> Client("localhost:1").embed_text("a cat")
    Traceback (most recent call last):
    altclip.errors.Unavailable: UNAVAILABLE: no server answers at localhost:1...
    """

    code = grpc.StatusCode.UNAVAILABLE

    @property
    def retryable(self) -> bool:
        """Always: another server, or the same one later, may answer."""
        return True


class DeadlineExceeded(AltClipError):
    """The call was not done within its timeout, or the server saw that it could not be.

    >>> client.embed_text("a cat", timeout=0.000_001)
    Traceback (most recent call last):
    altclip.errors.DeadlineExceeded: DEADLINE_EXCEEDED: no ...
    """

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(AltClipError):
    """The call was cancelled, by this side or on the way.

    >>> with Client("localhost:50051") as other:
    ...     results = other.embed_stream(itertools.repeat("a cat"))
    ...     first = next(results)
    >>> remaining = list(results)
    Traceback (most recent call last):
    altclip.errors.Cancelled: CANCELLED: ...
    """

    code = grpc.StatusCode.CANCELLED


class Internal(AltClipError):
    """A fault of the server, or an answer that is not understood; its log has the request's id.

    >>> broken.embed_text("a cat")
    Traceback (most recent call last):
    altclip.errors.Internal: INTERNAL: ...
    """

    code = grpc.StatusCode.INTERNAL


class Unimplemented(AltClipError):
    """The server has no such call: it is older, or no AltCLIP service.

    >>> older.encode_prompt("a cat")
    Traceback (most recent call last):
    altclip.errors.Unimplemented: UNIMPLEMENTED: ...
    """

    code = grpc.StatusCode.UNIMPLEMENTED


class ClientUnusable(AltClipError):
    """This client or stream cannot be used here: it was closed, or it belongs to another process or event
    loop. The message says which.

    >>> client.close()
    >>> client.embed_text("a cat")
    Traceback (most recent call last):
    altclip.errors.ClientUnusable: FAILED_PRECONDITION: the client was closed
    """

    code = grpc.StatusCode.FAILED_PRECONDITION


class RevisionChanged(AltClipError):
    """The weights changed between the parts of a call, and vectors of both must not be mixed: ask again.

    >>> changing.embed_text(["a cat"] * 1000)
    Traceback (most recent call last):
    altclip.errors.RevisionChanged: ABORTED: the model's weights changed during the call...
    """

    code = grpc.StatusCode.ABORTED
