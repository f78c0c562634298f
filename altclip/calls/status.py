"""Makes an exception of what gRPC or the server reports."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from altclip.errors import (
    AltClipError,
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidImage,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    TextTooLong,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UriRejected,
)

DOMAIN = "altclip"
DETAILS_KEY = "grpc-status-details-bin"

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables in which gRPC looks for a proxy, in its order."""

BY_REASON: Mapping[str, type[AltClipError]] = {
    "INVALID_REQUEST": InvalidRequest,
    "UNDECODABLE_IMAGE": InvalidImage,
    "IMAGE_TOO_LARGE": InvalidImage,
    "UNSUPPORTED_IMAGE": InvalidImage,
    "TEXT_TOO_LONG": TextTooLong,
    "URI_NOT_ALLOWED": UriRejected,
    "URI_FETCH_FAILED": UriRejected,
    "MODEL_NOT_FOUND": ModelNotFound,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "QUEUE_FULL": Overloaded,
    "QUOTA_EXCEEDED": Overloaded,
    "DEADLINE_TOO_SHORT": DeadlineExceeded,
    "WORKER_UNAVAILABLE": Unavailable,
    "DRAINING": Unavailable,
    "INTERNAL": Internal,
}
# For what carries no reason. NOT_FOUND without one is a proxy's "no such route" and stays an AltClipError.
BY_CODE: Mapping[grpc.StatusCode, type[AltClipError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.UNKNOWN: Internal,
    grpc.StatusCode.DATA_LOSS: Internal,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}
CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class FailedCall(Protocol):
    """What `grpc.RpcError` of a finished call and `grpc.aio.AioRpcError` have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


@contextlib.contextmanager
def typed_errors(address: str, request_id: str, is_closed: Callable[[], bool]) -> Iterator[None]:
    """Turns whatever gRPC raises in the block into an `AltClipError`, for both clients. The block must hold
    gRPC's own work only."""
    try:
        yield
    except AltClipError:
        raise
    except grpc.RpcError as error:
        raise from_call(cast(FailedCall, error), address=address, request_id=request_id) from error
    except Exception as error:
        # gRPC has many kinds for its own use: ValueError, UsageError, InvalidStateError, ExecuteBatchError.
        if is_closed():
            raise Cancelled("the client was closed", request_id=request_id) from error
        # Its words may quote the call's metadata, and with it the API key: they stay in the cause.
        raise Internal(f"gRPC failed: {type(error).__name__}", request_id=request_id) from error


def from_call(call: FailedCall, *, address: str = "", request_id: str = "") -> AltClipError:
    """The exception for a call that gRPC reports as failed."""
    metadata = dict(call.trailing_metadata() or ())
    status = status_pb2.Status(code=call.code().value[0], message=call.details() or "")
    packed = metadata.get(DETAILS_KEY)
    if isinstance(packed, bytes):
        # Bytes of a proxy's own are passed over; the plain code and message still tell.
        with contextlib.suppress(DecodeError):
            status = status_pb2.Status.FromString(packed)
    given_id = metadata.get("x-request-id", request_id)
    error = from_status(status, request_id=given_id if isinstance(given_id, str) else request_id)
    if address and not error.reason:
        if isinstance(error, Unavailable):
            error.message = f"no server answers at {address}{through_proxy()}: {error.message}"
        elif isinstance(error, DeadlineExceeded):  # gRPC says no more than that
            error.message = f"no answer from {address} in time{through_proxy()}"
        error.args = (error.message,)
    return error


def through_proxy(environment: Mapping[str, str] = os.environ) -> str:
    """What to add where no server answers and gRPC may have asked a proxy instead; else empty.

    gRPC asks the proxy for addresses of this machine, too, and does not say that it did.
    """
    name = next((name for name in PROXIES if environment.get(name)), "")
    return f" ({name} is set: that proxy may be asked; no_proxy names the hosts that are not)" if name else ""


def from_status(status: status_pb2.Status, *, request_id: str = "") -> AltClipError:
    """The exception for a `google.rpc.Status`, of a call or of one item of a stream."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(bad_request.DESCRIPTOR):
            detail.Unpack(bad_request)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    code = CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    reason = info.reason if info.domain == DOMAIN else ""
    return _class_for(reason, code, status.message, retry_after)(
        status.message or code.name.lower().replace("_", " "),
        reason=reason,
        code=code,
        fields=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry_after,
        request_id=request_id,
        metadata=info.metadata,
    )


def _class_for(
    reason: str, code: grpc.StatusCode, message: str, retry_after: float | None
) -> type[AltClipError]:
    if reason in BY_REASON:
        return BY_REASON[reason]
    # gRPC refuses by size with this text and nothing else; a proxy's rate limit has the same code and other
    # words.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is None:
        if "larger than max" in message:
            return MessageTooLarge
        if "metadata size exceeds" in message:  # the API key is the only large part of it
            return InvalidRequest
    return BY_CODE.get(code, AltClipError)
