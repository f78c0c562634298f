"""The one wrapper around every RPC: nothing reaches gRPC but an answer or a status of `service/errors.py`.

    raw bytes ─▶ request id ─▶ gate, key ─▶ parse ─▶ servicer ─▶ serialise ─▶ raw bytes
                     └── what is raised on the way: status + details + trailers, metrics, log ──┘

Handlers take and give raw bytes, because gRPC answers UNKNOWN or INTERNAL itself when its own (de)serialiser
fails. An exception that gets out of a grpc.aio handler shows its text to the client, and a CancelledError
that does sends no status at all: the client would wait for ever. So all are caught here. Only the
cancellation of the call itself goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from service.failures import failure
from service.frontend.admission.admission import Gate
from service.frontend.api.errors import (
    Internal,
    InvalidRequest,
    ServiceError,
    Unauthenticated,
    from_exception,
)
from service.frontend.api.messages import Call
from service.frontend.calls.callers import Callers
from service.frontend.grpc import parse_errors as wire
from service.frontend.grpc.auth import Doorkeeper, Strangers, authorization
from service.frontend.grpc.status import DETAILS, retry_trailers, status
from worker.runtime import logs
from worker.runtime.metric_labels import ANONYMOUS, OTHER
from worker.runtime.metrics import Metrics

__all__ = ["REQUEST_ID", "Handlers", "StreamMethod", "UnaryMethod", "parse"]

REQUEST_ID = "x-request-id"
LONGEST_REQUEST_ID = 128

Context = grpc.aio.ServicerContext[Any, Any]
Parsed = TypeVar("Parsed", bound=Message)
ReadRaw = Callable[[], Awaitable[bytes | None]]
WriteRaw = Callable[[bytes], Awaitable[None]]
UnaryMethod = tuple[type[Message], Callable[[Any, Call], Awaitable[Message]]]
StreamMethod = Callable[[ReadRaw, WriteRaw, Call], Awaitable[None]]

_log = logs.get("grpc")
# Seen in the metrics, and there are most of them when there is trouble: a line for each would add to it.
_NOT_LOGGED = frozenset(
    {"QUEUE_FULL", "QUOTA_EXCEEDED", "DRAINING", "DEADLINE_TOO_SHORT", "WORKER_UNAVAILABLE"}
)


def parse(kind: type[Parsed], raw: bytes) -> Parsed:
    """The message in these bytes; raises InvalidRequest with the field at fault."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise wire.unreadable(kind.DESCRIPTOR, raw) from None


class Handlers:
    """Wraps the methods of servicers; all share the gate, the callers and the metrics."""

    def __init__(self, gate: Gate, metrics: Metrics, callers: Callers | None = None) -> None:
        self._gate = gate
        self._metrics = metrics
        self._callers = callers or Callers()
        self._labels = frozenset(metrics.layout.values("caller"))
        self._strangers = Strangers()

    def service(
        self, service: ServiceDescriptor, methods: Mapping[str, UnaryMethod | StreamMethod]
    ) -> grpc.GenericRpcHandler:
        """The handlers of one service, which must have a method for each of its RPCs."""
        if missing := {method.name for method in service.methods} ^ set(methods):
            raise ValueError(f"{service.full_name}: {', '.join(sorted(missing))} is not served, or unknown")
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for name, method in methods.items():
            if isinstance(method, tuple):
                # Of a unary request without a message gRPC tells nobody, and its client would wait for ever.
                handlers[name] = grpc.stream_unary_rpc_method_handler(self._unary(name, *method))
            else:
                handlers[name] = grpc.stream_stream_rpc_method_handler(self._stream(name, method))
        return Doorkeeper(service.full_name, handlers, self._callers, self._refuse)

    def _unary(
        self, name: str, kind: type[Message], method: Callable[[Any, Call], Awaitable[Message]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def handle(_: Any, context: Context) -> bytes:
            started = time.perf_counter()
            call = begin(context)
            try:
                raw = await only_message(context)
                started = time.perf_counter()  # how fast it arrives is the client's affair
                self._enter(call, context)
                try:
                    answer = (await method(parse(kind, raw), call)).SerializeToString()
                finally:
                    self._leave(call)
            except BaseException as error:
                await self._failed(name, call, context, started, error)
            self._count(name, call, "OK", started)
            _log.debug("call_answered", method=name)
            return answer

        return handle

    def _stream(self, name: str, method: StreamMethod) -> Callable[[Any, Context], Awaitable[None]]:
        async def handle(_: Any, context: Context) -> None:
            async def read() -> bytes | None:
                raw: Any = await context.read()
                self._callers.recheck(call.grant)
                return None if raw is grpc.aio.EOF else raw

            started = time.perf_counter()
            call = begin(context)
            try:
                self._enter(call, context)
                try:
                    await method(read, context.write, call)
                finally:
                    self._leave(call)
            except BaseException as error:
                await self._failed(name, call, context, started, error)
            self._count(name, call, "OK", started)
            _log.debug("call_answered", method=name)

        return handle

    def _enter(self, call: Call, context: Context) -> None:
        """Raises Draining, Unauthenticated or QuotaExceeded; otherwise `_leave` must follow."""
        self._gate.enter()
        try:
            key = self._callers.known(authorization(context.invocation_metadata()))
            call.caller = key.name if key is not None else ""
            call.grant = self._callers.enter(key)
        except BaseException:
            self._gate.leave()
            raise

    def _leave(self, call: Call) -> None:
        self._callers.leave(call.grant)
        self._gate.leave()

    def _refuse(self, name: str, error: ServiceError) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers a call with this error, whatever its kind, and reads nothing of it."""

        async def handle(_: Any, context: Context) -> None:
            await self._failed(name, begin(context), context, time.perf_counter(), error)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _failed(
        self, name: str, call: Call, context: Context, started: float, error: BaseException
    ) -> NoReturn:
        """Ends the call with the error's status. Raises in any case."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            # The client has gone, its deadline has passed, or the server is being stopped: nobody listens any
            # more.
            late = call.deadline is not None and time.monotonic() >= call.deadline
            self._count(name, call, "DEADLINE_EXCEEDED" if late else "CANCELLED", started)
            try:
                raise error
            finally:
                del error  # or it would hold this frame, and all of the call, until cycles are collected
        if not isinstance(error, (Exception, asyncio.CancelledError)):
            raise error  # the process is being ended
        known = from_exception(error)
        entry = known.entry
        self._count(name, call, entry.code.name, started)
        fields: dict[str, Any] = {"method": name, "code": entry.code.name, "reason": entry.reason}
        if call.caller:
            fields["caller"] = call.caller
        if isinstance(known, Internal):
            _log.error("call_failed", "a call failed inside", **failure(error), **fields)
        elif isinstance(known, Unauthenticated):
            if strangers := self._strangers.count(time.monotonic()):
                _log.info("call_refused", **fields, peer=context.peer(), count=strangers)
        elif entry.reason not in _NOT_LOGGED:
            _log.info("call_refused", **fields, fields=[violation.path for violation in known.violations[:8]])
        await abort(context, call, known)

    def _count(self, name: str, call: Call, code: str, started: float) -> None:
        self._metrics.requests.inc(name, code)
        label = call.caller or ANONYMOUS
        self._metrics.caller_requests.inc(label if label in self._labels else OTHER, code)
        self._metrics.request_duration.observe(time.perf_counter() - started, name)


def begin(context: Context) -> Call:
    """What the call's metadata says; its request id goes into the trailers and the log's context."""
    request_id = ""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and valid_request_id(value):
            request_id = str(value)
    if not request_id:
        request_id = f"{random.getrandbits(64):016x}"
    logs.request_id.set(request_id)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    left = cast("float | None", context.time_remaining())  # None without a deadline
    peer = context.peer().rpartition(":")[0]  # without the port, which is another with each connection
    return Call(request_id, None if left is None else time.monotonic() + left, peer=peer)


async def only_message(context: Context) -> bytes:
    """The request of a unary call. Raises InvalidRequest where the client ends it without any."""
    raw: Any = await context.read()
    if raw is grpc.aio.EOF:
        await asyncio.sleep(0)  # where the call was cancelled, that is raised here
        raise InvalidRequest("The call has no request message.")
    return cast(bytes, raw)


def valid_request_id(value: str | bytes) -> bool:
    """Printable ASCII that is not too long for a log."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_REQUEST_ID
        and value.isascii()
        and value.isprintable()
    )


async def abort(context: Context, call: Call, error: ServiceError) -> NoReturn:
    """Ends the call. Before the first answer this is trailers only, which is what clients may retry."""
    details = status(error)
    trailers: Sequence[tuple[str, str | bytes]] = (
        (REQUEST_ID, call.request_id),
        (DETAILS, details.SerializeToString()),
        *retry_trailers(error),
    )
    await context.abort(grpc.StatusCode[error.entry.code.name], details.message, tuple(trailers))
