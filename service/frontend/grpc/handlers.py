"""The wrapper around every RPC: gRPC gets an answer or a status of `frontend/api/errors.py`, nothing else.

    raw bytes ─▶ begin ─▶ admitted ─▶ parse ─▶ servicer ─▶ serialise ─▶ raw bytes
                   └──────── what is raised on the way: status, details, trailers ──┘

`frontend/calls/lifecycle.py` has what does not concern gRPC.

Handlers take and give raw bytes, because gRPC answers UNKNOWN or INTERNAL itself when its own (de)serialiser
fails. An exception that leaves a grpc.aio handler shows its text to the client, and a CancelledError that
leaves it sends no status at all: the client would wait for ever. So all are caught here. Only the
cancellation of the call itself is raised again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from urllib.parse import unquote

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from altclip.tracing import names
from service.frontend.api.errors import InvalidRequest, ServiceError
from service.frontend.calls import trace_context
from service.frontend.calls.call import Call
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.calls.lifecycle import Ended, Lifecycle
from service.frontend.calls.trace_context import SpanStart, TraceContext
from service.frontend.grpc import parse_errors
from service.frontend.grpc.auth import Authenticated, authorization
from service.frontend.grpc.status import DETAILS, retry_trailers, status
from worker.runtime.metrics import Metrics

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Tracing

__all__ = ["REQUEST_ID", "Handlers", "StreamMethod", "UnaryMethod", "parse"]

REQUEST_ID = "x-request-id"
CANCELLATION_SECONDS = 1.0
"""When a client cancels, gRPC ends the read first, as if the client had sent all, and the handler later: on a
busy machine a good deal later."""

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]
Parsed = TypeVar("Parsed", bound=Message)
ReadRaw = Callable[[], Awaitable[bytes | None]]
WriteRaw = Callable[[bytes], Awaitable[None]]
UnaryMethod = tuple[type[Message], Callable[[Any, Call], Awaitable[Message]]]
StreamMethod = Callable[[ReadRaw, WriteRaw, Call], Awaitable[None]]


def parse(kind: type[Parsed], raw: bytes) -> Parsed:
    """The message in these bytes. Raises InvalidRequest with the field at fault."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise parse_errors.unreadable(kind.DESCRIPTOR, raw) from None


class Handlers:
    """Wraps the methods of all servicers."""

    def __init__(
        self, gate: Gate, callers: Callers, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self._metrics = metrics
        self._lifecycle = Lifecycle(gate, callers, metrics, self._count, tracing)
        self._spans: dict[str, SpanStart] = {}

    def service(
        self, service: ServiceDescriptor, methods: Mapping[str, UnaryMethod | StreamMethod]
    ) -> grpc.GenericRpcHandler:
        """The handlers of one service, which must have a method for each of its RPCs."""
        if missing := {method.name for method in service.methods} ^ set(methods):
            raise ValueError(f"{service.full_name}: {', '.join(sorted(missing))} is not served, or unknown")
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for name, method in methods.items():
            full = f"{service.full_name}/{name}"
            self._spans[name] = SpanStart(full, {names.RPC_SYSTEM: names.GRPC, names.RPC_METHOD: full})
            if isinstance(method, tuple):
                # With a unary handler gRPC tells nobody of a call without a message: its client would wait
                # for ever.
                handlers[name] = grpc.stream_unary_rpc_method_handler(self._unary(name, *method))
            else:
                handlers[name] = grpc.stream_stream_rpc_method_handler(self._stream(name, method))
        return Authenticated(service.full_name, handlers, self._lifecycle, self._refuse)

    def _unary(
        self, name: str, kind: type[Message], method: Callable[[Any, Call], Awaitable[Message]]
    ) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def handle(_: Any, context: Context) -> bytes:
            metadata = context.invocation_metadata()  # made anew each time it is asked for
            call = self._begin(name, context, metadata)
            try:
                raw = await only_message(context)
                with self._lifecycle.admitted(call, authorization(metadata)):
                    answer = (await method(parse(kind, raw), call)).SerializeToString()
                self._lifecycle.answered(call)
            except BaseException as error:
                await self._failed(call, context, error)
            return answer

        return handle

    def _stream(self, name: str, method: StreamMethod) -> Callable[[Any, Context], Awaitable[None]]:
        async def handle(_: Any, context: Context) -> None:
            async def read() -> bytes | None:
                raw: Any = await context.read()
                self._lifecycle.recheck(call)
                return None if raw is grpc.aio.EOF else raw

            metadata = context.invocation_metadata()
            call = self._begin(name, context, metadata)
            try:
                with self._lifecycle.admitted(call, authorization(metadata)):
                    await method(read, context.write, call)
                self._lifecycle.answered(call)
            except BaseException as error:
                await self._failed(call, context, error)

        return handle

    def _begin(self, name: str, context: Context, metadata: Metadata | None) -> Call:
        given: str | bytes = ""
        parent: str | bytes = ""
        for key, value in metadata or ():
            if key == REQUEST_ID:
                given = value
            elif key == names.TRACEPARENT:
                parent = value
        traced: TraceContext | None = trace_context.parse(parent) if parent else None
        left = cast("float | None", context.time_remaining())  # None without a deadline
        call = self._lifecycle.begin(
            name,
            request_id=given,
            seconds=left,
            peer=address(context.peer()),
            context=traced,
            span=self._spans[name],
        )
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        return call

    def _refuse(self, name: str, error: ServiceError) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers a call with this error, whatever its kind, and reads nothing of it."""

        async def handle(_: Any, context: Context) -> None:
            call = self._begin(name, context, context.invocation_metadata())
            await self._failed(call, context, error)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _failed(self, call: Call, context: Context, error: BaseException) -> NoReturn:
        """Ends the call with the error's status. Raises in any case."""
        # A read or a write fails so when the client goes meanwhile; gRPC cancels the handler a moment later.
        gone = isinstance(error, grpc.aio.InternalError)
        known = self._lifecycle.failed(call, error, gone=gone)
        if known is None:
            try:
                raise asyncio.CancelledError if gone else error
            finally:
                del error  # or it would hold this frame, and all of the call, until cycles are collected
        await abort(context, call, known)

    def _count(self, ended: Ended) -> None:
        self._metrics.requests.inc(ended.method, ended.code)
        self._metrics.request_duration.observe(ended.seconds, ended.method, ended.outcome)
        if ended.trace is not None:
            labels = (ended.method, ended.outcome)
            self._metrics.request_duration_exemplars.put(ended.seconds, ended.trace.ids, *labels)
            ended.trace.set({names.RPC_STATUS: ended.code})
            ended.trace.end()


async def only_message(context: Context) -> bytes:
    """The request of a unary call. Raises InvalidRequest where the client ends it without any."""
    raw: Any = await context.read()
    if raw is grpc.aio.EOF:
        await asyncio.sleep(CANCELLATION_SECONDS)  # where the call was cancelled, that is raised here
        raise InvalidRequest("The call has no request message.")
    return cast(bytes, raw)


@functools.lru_cache(1024)  # every call asks, and a connection brings many
def address(peer: str) -> str:
    """The client's network address in gRPC's name for a peer: "ipv6:%5B::1%5D:50" is "::1"."""
    scheme, _, rest = peer.partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return peer
    return unquote(rest.rpartition(":")[0]).strip("[]")


async def abort(context: Context, call: Call, error: ServiceError) -> NoReturn:
    """Ends the call. Before the first answer this is trailers only, which is what clients may retry."""
    details = status(error)
    trailers: Sequence[tuple[str, str | bytes]] = (
        (REQUEST_ID, call.request_id),
        (DETAILS, details.SerializeToString()),
        *retry_trailers(error),
    )
    await context.abort(grpc.StatusCode[error.entry.code.name], details.message, tuple(trailers))
