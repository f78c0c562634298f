"""One gRPC channel of the asyncio client: runs plans, turns failures into typed errors, watches health.

`connection.py` is its twin for programs that block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from altclip.calls import answers, status
from altclip.calls.plan import PARTS_IN_FLIGHT, Part, Plan
from altclip.channel import Endpoint, grpc_timeout, health_service, new_request_id
from altclip.errors import AltClipError, Cancelled, DeadlineExceeded, Unavailable
from altclip.results import Limits, Model
from altclip.v1 import embedding_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

Result = TypeVar("Result")


class AioConnection:
    """A channel and the stubs on it; belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        options, credentials = endpoint.channel_options(), endpoint.credentials
        self._channel = (
            grpc.aio.secure_channel(endpoint.address, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(endpoint.address, options)
        )
        self._embedding = embedding_service_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)  # its types miss the methods
        self._limits: dict[str, Limits] = {}

    async def close(self) -> None:
        """Ends what is under way with `Cancelled`."""
        await self._channel.close()

    async def run(self, plan: Plan[Result], timeout: float | None, request_id: str | None) -> Result:
        """Makes a call, in one part or several at a time, within one deadline. The first failure ends it."""
        request_id = request_id or new_request_id()
        deadline = time.monotonic() + self.endpoint.seconds(timeout)
        method = getattr(self._embedding, plan.method)
        limits = await self._limits_of(plan.template.model, timeout) if plan.large else None
        parts = plan.parts(limits)
        if len(parts) == 1:
            responses = [await self._call(method, parts[0].request, deadline - time.monotonic(), request_id)]
        else:
            responses = await self._together(plan, method, parts, deadline, request_id)
        return plan.decode(responses, request_id)

    def open_stream(self, timeout: float | None, request_id: str) -> Any:
        """Opens EmbedStream, to be written and read."""
        seconds = grpc_timeout(self.endpoint.seconds(timeout))
        return self._embedding.EmbedStream(timeout=seconds, metadata=self.endpoint.metadata(request_id))

    async def list_models(self, timeout: float | None) -> list[Model]:
        """The server's models."""
        return [answers.model(message) for message in (await self._listed(timeout)).models]

    async def server_version(self, timeout: float | None) -> str:
        """The version of the server's software."""
        return (await self._listed(timeout)).server_version

    async def get_model(self, name: str, timeout: float | None) -> Model:
        """One model."""
        request = model_service_pb2.GetModelRequest(name=name)
        seconds = self.endpoint.seconds(timeout)
        answer = await self._call(self._models.GetModel, request, seconds, new_request_id())
        return answers.model(answer.model)

    async def health(self, model: str, timeout: float | None) -> str:
        """The name of the serving status."""
        request = health_pb2.HealthCheckRequest(service=health_service(model))
        seconds = self.endpoint.seconds(timeout)
        try:
            answer = await self._call(self._health.Check, request, seconds, new_request_id())
        except AltClipError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:  # the health service's own way to say it
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    async def wait_until_ready(self, model: str, timeout: float) -> None:
        """Returns once the server is SERVING; reconnects as often as it takes. Raises DeadlineExceeded."""
        request = health_pb2.HealthCheckRequest(service=health_service(model))
        metadata = self.endpoint.metadata(new_request_id())
        deadline, heard = time.monotonic() + timeout, "no server answers"
        while (left := deadline - time.monotonic()) > 0:
            watch = self._health.Watch(
                request, timeout=grpc_timeout(left), metadata=metadata, wait_for_ready=True
            )
            try:
                async for answer in watch:
                    heard = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                    if heard == "SERVING":
                        return
            except grpc.RpcError as error:
                failed = self.error(error, "")
                if not isinstance(failed, Unavailable | DeadlineExceeded):
                    raise failed from error
            finally:
                watch.cancel()
            await asyncio.sleep(
                min(0.1, max(0.0, deadline - time.monotonic()))
            )  # it may end each watch at once
        raise DeadlineExceeded(f"{self.endpoint.address} was not ready after {timeout:g} s: {heard}")

    async def _listed(self, timeout: float | None) -> model_service_pb2.ListModelsResponse:
        request, seconds = model_service_pb2.ListModelsRequest(), self.endpoint.seconds(timeout)
        answer: model_service_pb2.ListModelsResponse = await self._call(
            self._models.ListModels, request, seconds, new_request_id()
        )
        return answer

    async def _together(
        self, plan: Plan[Any], method: Any, parts: Sequence[Part], deadline: float, request_id: str
    ) -> list[Any]:
        gate = asyncio.Semaphore(PARTS_IN_FLIGHT)

        async def send(part: Part) -> Any:
            async with gate:
                try:
                    return await self._call(method, part.request, deadline - time.monotonic(), request_id)
                except AltClipError as error:
                    raise error.shifted(plan.field, part.start) from error.__cause__

        tasks = [asyncio.create_task(send(part)) for part in parts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, method: Any, request: Any, seconds: float, request_id: str) -> Any:
        try:
            return await method(
                request, timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id)
            )
        except grpc.RpcError as error:
            raise self.error(error, request_id) from error
        except asyncio.CancelledError as error:
            # grpc.aio raises this also where the channel was closed; only a cancelled task stays so.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Cancelled("the client was closed", request_id=request_id) from error

    def error(self, error: grpc.RpcError, request_id: str) -> AltClipError:
        """The typed error for a failed call."""
        return status.from_call(
            cast(status.FailedCall, error), address=self.endpoint.address, request_id=request_id
        )

    async def _limits_of(self, model: str, timeout: float | None) -> Limits:
        if model not in self._limits:
            self._limits[model] = (await self.get_model(model, timeout)).limits
        return self._limits[model]
