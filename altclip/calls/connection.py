"""One gRPC channel of the blocking client: runs plans, turns failures into typed errors, watches health.

`aio_connection.py` is its twin for asyncio.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from altclip.calls import answers, status
from altclip.calls.plan import PARTS_IN_FLIGHT, Part, Plan
from altclip.channel import Endpoint, grpc_timeout, health_service, new_request_id
from altclip.errors import AltClipError, DeadlineExceeded, Unavailable
from altclip.results import Limits, Model
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

Result = TypeVar("Result")


class Connection:
    """A channel and the stubs on it; safe to share between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        options, credentials = endpoint.channel_options(), endpoint.credentials
        self._channel = (
            grpc.secure_channel(endpoint.address, credentials, options)
            if credentials
            else grpc.insecure_channel(endpoint.address, options)
        )
        self._embedding = embedding_service_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)  # its types miss the methods
        self._limits: dict[str, Limits] = {}

    def close(self) -> None:
        """Ends what is under way with `Cancelled`."""
        self._channel.close()

    def run(self, plan: Plan[Result], timeout: float | None, request_id: str | None) -> Result:
        """Makes a call, in one part or several at a time, within one deadline. The first failure ends it."""
        request_id = request_id or new_request_id()
        deadline = time.monotonic() + self.endpoint.seconds(timeout)
        method = getattr(self._embedding, plan.method)
        limits = self._limits_of(plan.template.model, timeout) if plan.large else None
        parts = plan.parts(limits)
        if len(parts) == 1:
            responses = [self._call(method, parts[0].request, deadline - time.monotonic(), request_id)]
        else:
            responses = self._together(plan, method, parts, deadline, request_id)
        return plan.decode(responses, request_id)

    def open_stream(
        self, requests: Iterator[pb.EmbedStreamRequest], timeout: float | None, request_id: str
    ) -> Any:
        """Opens EmbedStream."""
        seconds = self.endpoint.seconds(timeout)
        return self._embedding.EmbedStream(
            requests, timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id)
        )

    def list_models(self, timeout: float | None) -> list[Model]:
        """The server's models."""
        return [answers.model(message) for message in self._listed(timeout).models]

    def server_version(self, timeout: float | None) -> str:
        """The version of the server's software."""
        return self._listed(timeout).server_version

    def get_model(self, name: str, timeout: float | None) -> Model:
        """One model."""
        request = model_service_pb2.GetModelRequest(name=name)
        answer = self._call(self._models.GetModel, request, self.endpoint.seconds(timeout), new_request_id())
        return answers.model(answer.model)

    def health(self, model: str, timeout: float | None) -> str:
        """The name of the serving status."""
        request = health_pb2.HealthCheckRequest(service=health_service(model))
        try:
            answer = self._call(self._health.Check, request, self.endpoint.seconds(timeout), new_request_id())
        except AltClipError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:  # the health service's own way to say it
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def wait_until_ready(self, model: str, timeout: float) -> None:
        """Returns once the server is SERVING; reconnects as often as it takes. Raises DeadlineExceeded."""
        request = health_pb2.HealthCheckRequest(service=health_service(model))
        metadata = self.endpoint.metadata(new_request_id())
        deadline, heard = time.monotonic() + timeout, "no server answers"
        while (left := deadline - time.monotonic()) > 0:
            watch = self._health.Watch(
                request, timeout=grpc_timeout(left), metadata=metadata, wait_for_ready=True
            )
            try:
                for answer in watch:
                    heard = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                    if heard == "SERVING":
                        return
            except grpc.RpcError as error:
                failed = self.error(error, "")
                if not isinstance(failed, Unavailable | DeadlineExceeded):
                    raise failed from error
            finally:
                watch.cancel()
            time.sleep(min(0.1, max(0.0, deadline - time.monotonic())))  # a server may end each watch at once
        raise DeadlineExceeded(f"{self.endpoint.address} was not ready after {timeout:g} s: {heard}")

    def _listed(self, timeout: float | None) -> model_service_pb2.ListModelsResponse:
        request, seconds = model_service_pb2.ListModelsRequest(), self.endpoint.seconds(timeout)
        answer: model_service_pb2.ListModelsResponse = self._call(
            self._models.ListModels, request, seconds, new_request_id()
        )
        return answer

    def _together(
        self, plan: Plan[Any], method: Any, parts: Sequence[Part], deadline: float, request_id: str
    ) -> list[Any]:
        metadata = self.endpoint.metadata(request_id)
        responses: list[Any] = []
        under_way: deque[tuple[int, Any]] = deque()

        def take() -> None:
            start, call = under_way.popleft()
            try:
                responses.append(call.result())
            except grpc.RpcError as error:
                raise self.error(error, request_id).shifted(plan.field, start) from error

        try:
            for part in parts:
                if len(under_way) == PARTS_IN_FLIGHT:
                    take()
                left = grpc_timeout(deadline - time.monotonic())
                under_way.append((part.start, method.future(part.request, timeout=left, metadata=metadata)))
            while under_way:
                take()
        finally:
            for _, call in under_way:
                call.cancel()
        return responses

    def _call(self, method: Any, request: Any, seconds: float, request_id: str) -> Any:
        try:
            return method(request, timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id))
        except grpc.RpcError as error:
            raise self.error(error, request_id) from error

    def error(self, error: grpc.RpcError, request_id: str) -> AltClipError:
        """The typed error for a failed call."""
        return status.from_call(
            cast(status.FailedCall, error), address=self.endpoint.address, request_id=request_id
        )

    def _limits_of(self, model: str, timeout: float | None) -> Limits:
        if model not in self._limits:
            self._limits[model] = self.get_model(model, timeout).limits
        return self._limits[model]
