"""One call of any transport, from its arrival to its end.

    begin ─▶ admitted: gate, key, grant ─▶ the transport's handler ─▶ answered: count, log
      │                                                                   │
      └───────── whatever is raised ─▶ failed: decide, count, log ◀───────┘

A transport makes one `Lifecycle`, with a `count` if the gRPC code of a call is enough to count it in the
transport's own metrics. Then it handles every call in this way:

    call = lifecycle.begin("EmbedText", request_id=…, seconds=…, peer=…)
    try:
        request = await …                                   # read all of a unary request first
        with lifecycle.admitted(call, authorization):
            answer = await …                                # parse, call the core, serialise
        lifecycle.answered(call)
    except BaseException as error:
        known = lifecycle.failed(call, error)
        if known is None:
            raise                                           # nobody listens any more
        answer = …                                          # `known`, by its `entry`
    …                                                       # send it with `call.request_id`

- The `try` holds everything that can fail, and `answered` is its last line.
- `authorization` is the value "Bearer KEY"; None without a key, "" for several values that differ.
- `known` turns a caller without a valid key away before anything of its request is read: end such a call with
  `begin` and `failed`.
- The deadline may also become known later, from the request: then set `call.deadline` before `admitted`.
  gRPC cancels a handler at its deadline. A transport whose server does not wraps the handler in
  `async with within_deadline(call)`.
- A handler must run in a task that its server cancels when the client goes away; by this `failed` knows it.
- A stream calls `recheck` for each message that it reads.
- Where `begin` gets a `span` to start, the call may be traced. Where the transport counts the call, it adds
  to `call.trace` what only it knows, and ends it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from altclip.tracing import names
from service.config.keys import Key
from service.frontend.api.errors import (
    ENDINGS,
    DeadlineTooShort,
    Internal,
    ServiceError,
    from_exception,
)
from service.frontend.calls.call import Call
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.calls.trace_context import SpanStart, TraceContext
from worker.runtime import logs
from worker.runtime.metric_labels import ANONYMOUS, OTHER, REASONS
from worker.runtime.metrics import Metrics

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Trace, Tracing

__all__ = ["Ended", "Lifecycle", "StrangersLog", "valid_request_id", "within_deadline"]

LONGEST_REQUEST_ID = 128

_log = logs.get("calls")
# The metrics show these. Under overload there are very many of them, and a line for each would add to it.
_NOT_LOGGED = frozenset(
    {"QUEUE_FULL", "QUOTA_EXCEEDED", "DRAINING", "DEADLINE_TOO_SHORT", "WORKER_UNAVAILABLE"}
)


class Ended(NamedTuple):
    """How a call ended.

    code: the name of the gRPC status code, also for other transports; "OK" for an answer. error: what the
    caller is told; None after an answer, and where nobody listens any more (CANCELLED, DEADLINE_EXCEEDED).
    seconds: since it was admitted, or else since it began. trace: the call's.
    """

    method: str
    code: str
    error: ServiceError | None
    seconds: float
    trace: Trace | None = None

    @property
    def outcome(self) -> str:
        """The metrics' word for it: ok, failed (the caller is told an error) or cancelled (it has gone)."""
        if self.error is not None:
            return "failed"
        return "ok" if self.code == "OK" else "cancelled"


Count = Callable[[Ended], None]


class Lifecycle:
    """The calls of one transport. The gate and the callers are shared by all transports."""

    def __init__(
        self,
        gate: Gate,
        callers: Callers,
        metrics: Metrics,
        count: Count | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """count: called once for each call when it has ended, to count it in the transport's own metrics.

        A transport that knows an answer's status only later counts by itself. tracing: None traces no call.
        """
        self._gate = gate
        self._callers = callers
        self._metrics = metrics
        self._count = count
        self._tracing = tracing
        self._names = frozenset(metrics.layout.values("caller"))
        self._strangers: defaultdict[str, StrangersLog] = defaultdict(StrangersLog)
        """By the reason."""

    def begin(
        self,
        method: str,
        *,
        request_id: str | bytes = "",
        seconds: float | None = None,
        peer: str = "",
        context: TraceContext | None = None,
        span: SpanStart | None = None,
    ) -> Call:
        """A call has arrived; its request id is in the log's context from now on.

        request_id: the client's; another is made where it is no valid one. seconds: until the deadline.
        peer: the client's address, as `Call` has it. context: of the caller's trace. span: without it the
        call is not traced.
        """
        given = request_id if isinstance(request_id, str) and valid_request_id(request_id) else ""
        chosen = given or f"{random.getrandbits(64):016x}"
        logs.request_id.set(chosen)
        deadline = None if seconds is None else time.monotonic() + seconds
        call = Call(chosen, deadline, peer=unmapped(peer), method=method)
        if self._tracing is not None and span is not None:
            call.trace = self._traced(self._tracing, span, context, chosen)
        if call.trace is not None:
            logs.trace.set(call.trace.ids)
        else:  # a connection may hand on the ids of the call before this one
            logs.trace.set((context.trace_id, context.span_id) if context is not None else None)
        return call

    def _traced(
        self, tracing: Tracing, span: SpanStart, context: TraceContext | None, request_id: str
    ) -> Trace | None:
        """A bug in the tracing is logged, and costs the caller nothing."""
        try:
            trace = tracing.begin(span, context)
            if trace is not None:
                trace.set({names.REQUEST_ID: request_id})
            return trace
        except Exception as bug:
            _log.error("call_not_traced", "a call has no span", error=bug)
            return None

    def known(self, authorization: str | None) -> Key | None:
        """The caller's key; None where the service asks for none. Raises Unauthenticated."""
        return self._callers.known(authorization)

    def admitted(self, call: Call, authorization: str | None, *, free: bool = False) -> Admitted:
        """Lets a call in, for a `with` block around its work, and starts its time.

        free: it takes nothing from the caller's quota. Raises Draining, Unauthenticated or QuotaExceeded.
        """
        return Admitted(self._gate, self._callers, call, authorization, free)

    def recheck(self, call: Call) -> None:
        """For calls that last. Raises Unauthenticated once the operator has removed the call's key."""
        self._callers.recheck(call.grant)

    def answered(self, call: Call) -> None:
        """The call has ended with an answer."""
        self._ended(call, "OK", None)
        _log.debug("call_answered", method=call.method)

    def failed(self, call: Call, error: BaseException, *, gone: bool = False) -> ServiceError | None:
        """The call has ended with this exception: what the caller is to be told.

        gone: the transport could not read or write, because the client has gone.

        None means that nobody listens: the client has gone, its deadline has passed, or the process ends.
        Then raise the exception again.
        """
        task = asyncio.current_task()
        cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
        if gone or cancelled:
            self._ended(call, "CANCELLED" if call.in_time() else "DEADLINE_EXCEEDED", None)
            return None
        if isinstance(error, ENDINGS):
            return None
        known = from_exception(error)
        self._ended(call, known.entry.code.name, known)
        self._tell(call, error, known)
        return known

    def _ended(self, call: Call, code: str, error: ServiceError | None) -> None:
        """Counts the call. A bug in the counting is logged, and costs the caller nothing."""
        try:
            name = call.caller or ANONYMOUS
            self._metrics.caller_requests.inc(name if name in self._names else OTHER, code)
            if error is not None:
                reason = error.entry.reason
                self._metrics.call_errors.inc(reason if reason in REASONS else OTHER)
            if call.trace is not None:
                call.trace.set({names.CALLER: name, names.PRIORITY: call.priority.label})
                call.trace.outcome(code, error.entry.reason if error is not None else "")
            if self._count is not None:
                seconds = time.perf_counter() - call.started
                self._count(Ended(call.method, code, error, seconds, call.trace))
        except Exception as bug:
            _log.error("call_not_counted", "the metrics lack a call", method=call.method, error=bug)

    def _tell(self, call: Call, error: BaseException, known: ServiceError) -> None:
        """Logs a call that failed."""
        entry = known.entry
        fields: dict[str, Any] = {"method": call.method, "code": entry.code.name, "reason": entry.reason}
        if call.caller:
            fields["caller"] = call.caller
        if isinstance(known, Internal):
            _log.error("call_failed", "the server failed to answer a call", error=error, **fields)
        elif entry.reason not in _NOT_LOGGED:
            fields["fields"] = [violation.path for violation in known.violations[:8]]
            if self._is_a_strangers(call, entry.reason):
                if not (count := self._strangers[entry.reason].count(time.monotonic())):
                    return
                fields |= {"peer": call.peer, "count": count}
            _log.info("call_refused", **fields)

    def _is_a_strangers(self, call: Call, reason: str) -> bool:
        """Whether anybody can have calls refused so, as often as he likes: without a key where keys are asked
        for, and anywhere by what is wrong for a transport alone, such as a path that there is not."""
        return not call.caller and (self._callers.need_keys or reason not in REASONS)


class Admitted:
    """The `with` block of a call that was let in. See `Lifecycle.admitted`."""

    __slots__ = ("_authorization", "_call", "_callers", "_free", "_gate")

    def __init__(
        self, gate: Gate, callers: Callers, call: Call, authorization: str | None, free: bool
    ) -> None:
        self._gate = gate
        self._callers = callers
        self._call = call
        self._authorization = authorization
        self._free = free

    def __enter__(self) -> None:
        call = self._call
        # How fast a request arrives is up to its client: the time of a call starts here.
        call.started = time.perf_counter()
        self._gate.enter()
        try:
            key = self._callers.known(self._authorization)
            call.caller = key.name if key is not None else ""
            call.grant = self._callers.enter(key, free=self._free)
        except BaseException:
            self._gate.leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._callers.leave(self._call.grant)
        self._gate.leave()


class StrangersLog:
    """When to log calls of strangers: at most one line in each interval, however many calls come."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._count = 0
        self._last_line = float("-inf")

    def count(self, now: float) -> int:
        """How many calls a line is to report, this one included; 0 while it is too early for a line."""
        self._count += 1
        if now - self._last_line < self._interval:
            return 0
        count, self._count, self._last_line = self._count, 0, now
        return count


@asynccontextmanager
async def within_deadline(call: Call) -> AsyncIterator[None]:
    """Ends the block when the call's deadline comes. Raises DeadlineTooShort."""
    left = None if call.deadline is None else call.deadline - time.monotonic()
    try:
        async with asyncio.timeout(left) as timeout:
            yield
    except TimeoutError:
        if timeout.expired():
            raise DeadlineTooShort("The deadline passed before the answer was ready.") from None
        raise


def unmapped(address: str) -> str:
    """An IPv4 address as such, where a socket for both gives it in IPv6: "::ffff:10.0.0.1" is "10.0.0.1"."""
    found = address.removeprefix("::ffff:")
    return found if "." in found else address


def valid_request_id(value: str) -> bool:
    """Whether it is printable ASCII and not too long for a log."""
    return 0 < len(value) <= LONGEST_REQUEST_ID and value.isascii() and value.isprintable()
