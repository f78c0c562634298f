"""Every HTTP request from its headers to its answer: an ASGI application under uvicorn's protocol.

    host ─▶ route ─▶ key ─▶ body ─▶ admitted: parse, deadline, the API's handler ─▶ answer
      └───────── whatever is raised ─▶ the API's error shape ─────────────────────────┘

A stranger's body is not read, whatever the route. The lifecycle is the one that gRPC's calls have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from altclip.tracing import names
from service.frontend.api.errors import InvalidRequest, ServiceError, Unauthenticated
from service.frontend.calls.call import Call
from service.frontend.calls.callers import Callers
from service.frontend.calls.lifecycle import Lifecycle, within_deadline
from service.frontend.calls.trace_context import SpanStart
from service.frontend.http.body import Bodies, check_type, content_length, discard
from service.frontend.http.browsers import cors_headers, known_host
from service.frontend.http.errors import MethodNotAllowed, Shape, openai_error, retry_headers
from service.frontend.http.fields import number, set_deadline
from service.frontend.http.json_body import MOST_VALUES, VALUE_BYTES, read_object, values
from service.frontend.http.multipart import read_form
from service.frontend.http.protocol import HttpProtocol
from service.frontend.http.request import Headers, Request, authorization, grouped, trace_of
from service.frontend.http.routes import Api, Found, Response, Routes
from service.frontend.http.service import Service
from worker.runtime import logs
from worker.runtime.metric_labels import HTTP_CODES, OTHER

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Trace

__all__ = ["Gateway"]

INLINE_BYTES = 1 << 18
"""A body of so many bytes is parsed at once: in less than a millisecond."""
SHORT_BODY = 64 << 10
"""What an early answer leaves unread of it is thrown away, and the connection used further."""
CLIENT_WENT = 499

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

_log = logs.get("http")


class Gateway:
    """All routes of a frontend."""

    def __init__(self, service: Service, callers: Callers, apis: Sequence[Api], *, reachable: bool) -> None:
        """reachable: from other machines."""
        core = service.core
        settings = service.settings
        self._service = service
        self._routes = Routes(apis)
        self._gate = core.gate
        self._metrics = core.metrics
        self._counted = frozenset(core.metrics.layout.values("route"))
        self._lifecycle = Lifecycle(core.gate, callers, core.metrics, tracing=core.tracing)
        self._bodies = Bodies(settings.http_max_body_bytes, settings.max_queue_bytes)
        self._warn_of_host = reachable and not settings.wants_keys
        self.active: set[asyncio.Task[Any]] = set()
        """Tasks that answer a request."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI."""
        protocol: HttpProtocol = scope["extensions"]["altclip.protocol"]["protocol"]
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows the type
        protocol.task = task
        self.active.add(task)
        try:
            await _Exchange(self, scope, receive, send, protocol).run()
        finally:
            self.active.discard(task)
            protocol.finished()

    def count(self, route: str, status: int, seconds: float, trace: Trace | None = None) -> None:
        """Counts a request in this transport's own metrics. Only the route's API knows an error's status.

        The supervisor lays out the metrics without the APIs: a route that it does not know is `other`, so
        that what is not counted by name is answered all the same.
        """
        code = str(status)
        route = route if route in self._counted else OTHER
        self._metrics.http_requests.inc(route, code if code in HTTP_CODES else OTHER)
        outcome = "cancelled" if status == CLIENT_WENT else "failed" if status >= 400 else "ok"
        self._metrics.http_request_duration.observe(seconds, route, outcome)
        if trace is not None:
            self._metrics.http_request_duration_exemplars.put(seconds, trace.ids, route, outcome)
            trace.set({names.HTTP_STATUS: status})
            trace.end()

    def local_path(self, path: str) -> str:
        """Without the operator's prefix, where the proxy has not taken it away."""
        prefix = self._service.settings.http_prefix
        if prefix and path.startswith(f"{prefix}/"):
            return path[len(prefix) :]
        return path

    def check_host(self, headers: Headers, version: str, *, keyless: bool) -> None:
        """Raises Misdirected or BadHttp."""
        allowed = self._service.settings.http_hosts
        if not known_host(headers, version, allowed, keyless=keyless) and self._warn_of_host:
            self._warn_of_host = False
            _log.warning(
                "unknown_host",
                "a request came for a host name; without keys and without --http-hosts a web page that a "
                "browser in this network shows could call this server under its own name",
            )


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, gateway: Gateway, scope: Any, receive: Receive, send: Send, protocol: HttpProtocol
    ) -> None:
        self._gateway = gateway
        self._lifecycle = gateway._lifecycle
        self._service = gateway._service
        self._scope = scope
        self._receive = receive
        self._send = send
        self._protocol = protocol
        self._method: str = scope["method"]
        self._path = gateway.local_path(scope["path"])
        self._headers = grouped(scope["headers"])
        self._origin = self._headers.get("origin", [""])[-1]
        self._unread = (content_length(self._headers) != 0) if self._has_body else False
        self._held = 0
        self._stays = False
        self._shape: Shape = openai_error
        self._route = OTHER
        self._keyless = False
        self._span: SpanStart | None = None

    @property
    def _has_body(self) -> bool:
        return "content-length" in self._headers or "transfer-encoding" in self._headers

    async def run(self) -> None:
        """Answers, whatever happens."""
        methods, _ = self._gateway._routes.methods(self._path)
        if methods:
            first = next(iter(methods.values()))
            self._route, self._shape = first.route.path, first.api.shape
            asked = methods.get("GET" if self._method == "HEAD" else self._method)
            self._keyless = asked is not None and asked.route.keyless
            if self._method in methods and not methods[self._method].route.keyless:
                facts = {names.HTTP_METHOD: self._method, names.HTTP_ROUTE: self._route}
                self._span = SpanStart(f"{self._method} {self._route}", facts)
        call = self._begin()
        try:
            response = await self._ended(call)
            self._count(response.status, call)
            await self._answer(call, response)
        finally:
            if self._stays:
                self._gateway._gate.leave()

    async def _ended(self, call: Call) -> Response:
        """The answer, or an error's. An error holds what it failed on, so it ends here and not with the
        answer, which a client may take its time to read."""
        try:
            return await self._response(call)
        except BaseException as error:
            known = self._lifecycle.failed(call, error)
            if known is None:
                self._count(CLIENT_WENT, call)
                raise
            return self._failure(known)
        finally:
            self._gateway._bodies.release(self._held)

    def _begin(self) -> Call:
        client = self._scope["client"]
        return self._lifecycle.begin(
            self._route,
            request_id=self._headers.get("x-request-id", [""])[-1],
            peer=client[0] if client else "",
            context=trace_of(self._headers),
            span=self._span,
        )

    async def _response(self, call: Call) -> Response:
        self._gateway.check_host(self._headers, self._scope["http_version"], keyless=self._keyless)
        if self._is_preflight:
            return Response(status=204, content_type="")
        if self._is_prefix_alone:  # the page's addresses are relative: without the slash they lead elsewhere
            return Response(status=308, content_type="", headers=[("location", self._scope["path"] + "/")])
        found = self._gateway._routes.find(self._method, self._path)
        self._shape = found.api.shape
        request = Request(
            call,
            self._method,
            self._path,
            self._headers,
            found.rest,
            self._scope["query_string"].decode("latin-1"),
        )
        self._set_deadline(request)
        if found.route.keyless:
            return await found.route.handler(request)
        given = authorization(self._headers)
        self._lifecycle.known(given)
        raw = await self._body(found, call)
        with self._lifecycle.admitted(call, given, free=found.route.free), self._staying():
            await self._parse(found, request, raw)
            del raw
            async with within_deadline(call):
                response = await found.route.handler(request)
        self._lifecycle.answered(call)
        return response

    @contextmanager
    def _staying(self) -> Iterator[None]:
        """Has a drain wait until the client has read the answer to what is done in the block."""
        try:
            yield
        finally:
            self._gateway._gate.stay()
            self._stays = True

    @property
    def _is_preflight(self) -> bool:
        asks = self._method == "OPTIONS" and "access-control-request-method" in self._headers
        return asks and bool(cors_headers(self._origin, self._service.settings.http_cors_origins))

    @property
    def _is_prefix_alone(self) -> bool:
        prefix = self._service.settings.http_prefix
        return bool(prefix) and self._scope["path"] == prefix and self._method in ("GET", "HEAD")

    def _set_deadline(self, request: Request) -> None:
        given = request.header("x-request-timeout-ms")
        if given:
            if not given.isascii() or not given.isdigit() or len(given) > 12:
                raise InvalidRequest.at("x-request-timeout-ms", "must be a whole number of milliseconds")
            set_deadline(request.call, int(given) / 1000, "x-request-timeout-ms", time.monotonic())

    async def _body(self, found: Found, call: Call) -> bytearray:
        if not found.route.body:
            return bytearray()
        check_type(self._headers, found.route.body, untyped=found.route.untyped)
        raw = await self._gateway._bodies.read(self._headers, self._receive, lambda: self._protocol.broken)
        self._held, self._unread = len(raw), False
        if found.route.body == "json" and len(raw) > INLINE_BYTES:
            async with within_deadline(call):
                count = await self._service.core.threads.run(lambda: values(raw))
            memory = VALUE_BYTES * min(count, MOST_VALUES)  # of more than that, none is made
            self._held = self._gateway._bodies.hold(memory, len(raw))
        return raw

    async def _parse(self, found: Found, request: Request, raw: bytearray) -> None:
        arrived = time.monotonic()

        def read() -> None:
            if found.route.body == "json":
                request.body = read_object(raw)
            elif found.route.body == "multipart":
                request.form = read_form(raw, request.header("content-type"))

        if len(raw) <= INLINE_BYTES:
            read()
        else:
            async with within_deadline(request.call):
                await self._service.core.threads.run(read)
        timeout = request.body.get("timeout")
        if timeout is not None:
            set_deadline(request.call, number(timeout, "timeout"), "timeout", arrived)

    def _failure(self, error: ServiceError) -> Response:
        status, body = self._shape(error)
        headers = [*retry_headers(status, error)]
        if isinstance(error, Unauthenticated):
            headers.append(("www-authenticate", "Bearer"))
        if isinstance(error, MethodNotAllowed):
            methods, _ = self._gateway._routes.methods(self._path)
            headers.append(("allow", ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])))
        answer = Response.of(body, status)
        return Response(answer.body, status, answer.content_type, headers)

    def _count(self, status: int, call: Call) -> None:
        self._gateway.count(self._route, status, time.perf_counter() - call.started, call.trace)

    async def _answer(self, call: Call, response: Response) -> None:
        length = content_length(self._headers)
        long = self._unread and (length is None or length > SHORT_BODY or "expect" in self._headers)
        headers = [("x-request-id", call.request_id), *response.headers]
        if response.content_type:
            headers.append(("content-type", response.content_type))
        if response.status not in (204, 304):  # with 304 it would be the length of what the client has
            headers.append(("content-length", str(len(response.body))))
        headers += cors_headers(
            self._origin,
            self._service.settings.http_cors_origins,
            wanted_headers=self._headers.get("access-control-request-headers", [""])[-1]
            if self._method == "OPTIONS"
            else None,
        )
        if long or self._service.answers_last(self._protocol.connected_at):
            headers.append(("connection", "close"))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        with self._protocol.as_one():
            await self._send({"type": "http.response.start", "status": response.status, "headers": raw})
            # The end is told apart: uvicorn waits before it until the client has taken most of the body.
            await self._send({"type": "http.response.body", "body": response.body, "more_body": True})
        if long and not self._protocol.broken:
            await discard(self._receive, lambda: self._protocol.broken, waiting="expect" in self._headers)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
