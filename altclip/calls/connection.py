"""One gRPC channel of the blocking client: runs plans, turns failures into typed errors, watches health.

`aio_connection.py` is its twin for asyncio.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from altclip.calls import answers, forking
from altclip.calls.plan import PARTS_IN_FLIGHT, Part, Plan
from altclip.calls.status import typed_errors
from altclip.calls.stubs import Stubs
from altclip.channel import Endpoint, grpc_timeout, health_service, new_request_id, request_id_of
from altclip.errors import AltClipError, ClientUnusable, DeadlineExceeded, Unavailable
from altclip.inputs import text_of
from altclip.results import Limits, Model
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Result = TypeVar("Result")


class Connection:
    """A channel and the stubs on it; safe to share between threads, and usable after a fork."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = False
        self._stubs = Stubs(endpoint, grpc)
        self._process = os.getpid()
        self._of_parents: list[Stubs] = []
        self._limits: dict[str, Limits] = {}

    def close(self) -> None:
        """Ends what is under way with `Cancelled`."""
        self.closed = True
        if self._process == os.getpid():  # a parent's channel is not ours to close
            self._stubs.channel.close()

    def stubs(self) -> Stubs:
        """The stubs of this process. Raises ClientUnusable."""
        if self.closed:
            raise ClientUnusable("the client was closed")
        if self._process != os.getpid():
            # The parent's channel has locks that no thread of this process will release. It is kept, so that
            # nothing finalises it here.
            self._of_parents.append(self._stubs)
            self._stubs, self._process = Stubs(self.endpoint, grpc), os.getpid()
        return self._stubs

    def run(self, plan: Plan[Result], timeout: float | None, request_id: str | None) -> Result:
        """Makes a call, in one part or several at a time, within one deadline. The first failure ends it."""
        request_id = request_id_of(request_id)
        tracing = self.endpoint.tracing
        if tracing is None:
            return self._run(plan, timeout, request_id)
        with tracing.call(plan.method, plan.template.model, request_id):
            return self._run(plan, timeout, request_id)

    def _run(self, plan: Plan[Result], timeout: float | None, request_id: str) -> Result:
        deadline = time.monotonic() + self.endpoint.seconds(timeout)
        method = getattr(self.stubs().embedding, plan.method)
        limits = self.limits_of(plan.template.model, timeout) if plan.large else None
        parts = plan.parts(limits)
        if len(parts) == 1:
            with plan.naming(parts[0]):
                responses = [self._call(method, parts[0].request, deadline - time.monotonic(), request_id)]
        else:
            responses = self._together(plan, method, parts, deadline, request_id)
        return plan.decode(responses, request_id)

    def open_stream(
        self,
        requests: Iterator[pb.EmbedStreamRequest],
        timeout: float | None,
        request_id: str,
        span: Span | None = None,
    ) -> Any:
        """Opens EmbedStream. span: of a traced stream."""
        seconds = self.endpoint.seconds(timeout)
        stubs = self.stubs()
        with self.typed_errors(request_id):
            return stubs.embedding.EmbedStream(
                requests, timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id, span)
            )

    def list_models(self, timeout: float | None) -> list[Model]:
        """The server's models."""
        return [answers.model(message) for message in self._listed(timeout).models]

    def server_version(self, timeout: float | None) -> str:
        """The version of the server's software."""
        return self._listed(timeout).server_version

    def get_model(self, name: str, timeout: float | None) -> Model:
        """One model."""
        request = model_service_pb2.GetModelRequest(name=text_of(name, "name"))
        seconds = self.endpoint.seconds(timeout)
        answer = self._call(self.stubs().models.GetModel, request, seconds, new_request_id())
        return answers.model(answer.model)

    def limits_of(self, model: str, timeout: float | None) -> Limits:
        """What a request to this model may hold; the server is asked once."""
        if model not in self._limits:
            self._limits[model] = self.get_model(model, timeout).limits
        return self._limits[model]

    def health(self, model: str, timeout: float | None) -> str:
        """The name of the serving status."""
        request = health_pb2.HealthCheckRequest(service=health_service(text_of(model, "model")))
        seconds = self.endpoint.seconds(timeout)
        try:
            answer = self._call(self.stubs().health.Check, request, seconds, new_request_id())
        except AltClipError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:  # the health service's own way to say it
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def wait_until_ready(self, model: str, timeout: float | None) -> None:
        """Returns once the server is SERVING; reconnects as often as it takes. Raises DeadlineExceeded."""
        request = health_pb2.HealthCheckRequest(service=health_service(text_of(model, "model")))
        metadata = self.endpoint.metadata(new_request_id())
        seconds = self.endpoint.seconds(timeout)
        deadline, heard = time.monotonic() + seconds, "no server answers"
        while (left := deadline - time.monotonic()) > 0:
            stubs, watch = self.stubs(), None
            try:
                with forking.under_way(), self.typed_errors(""):
                    watch = stubs.health.Watch(
                        request, timeout=grpc_timeout(left), metadata=metadata, wait_for_ready=True
                    )
                    for answer in watch:
                        heard = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                        if heard == "SERVING":
                            return
            except (Unavailable, DeadlineExceeded):
                pass
            finally:
                if watch is not None:
                    watch.cancel()
            time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))  # a server may end each watch at once
        raise DeadlineExceeded(f"{self.endpoint.address} was not ready after {seconds:g} s: {heard}")

    def typed_errors(self, request_id: str) -> AbstractContextManager[None]:
        """Turns what gRPC raises in the block into an `AltClipError`."""
        return typed_errors(self.endpoint.address, request_id, lambda: self.closed)

    def _listed(self, timeout: float | None) -> model_service_pb2.ListModelsResponse:
        request, seconds = model_service_pb2.ListModelsRequest(), self.endpoint.seconds(timeout)
        answer: model_service_pb2.ListModelsResponse = self._call(
            self.stubs().models.ListModels, request, seconds, new_request_id()
        )
        return answer

    def _together(
        self, plan: Plan[Any], method: Any, parts: Sequence[Part], deadline: float, request_id: str
    ) -> list[Any]:
        metadata = self.endpoint.metadata(request_id)
        responses: list[Any] = []
        under_way: deque[tuple[Part, Any]] = deque()

        def take() -> None:
            part, call = under_way.popleft()
            with plan.naming(part), self.typed_errors(request_id):
                responses.append(call.result())

        working = forking.begin()
        try:
            for part in parts:
                if len(under_way) == PARTS_IN_FLIGHT:
                    take()
                left = grpc_timeout(deadline - time.monotonic())
                with self.typed_errors(request_id):
                    under_way.append((part, method.future(part.request, timeout=left, metadata=metadata)))
            while under_way:
                take()
        finally:
            for _, call in under_way:
                call.cancel()
            forking.end(working)
        return responses

    def _call(self, method: Any, request: Any, seconds: float, request_id: str) -> Any:
        if seconds <= 0:
            raise DeadlineExceeded("no time was left to make the call", request_id=request_id)
        with forking.under_way(), self.typed_errors(request_id):
            return method(request, timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id))
