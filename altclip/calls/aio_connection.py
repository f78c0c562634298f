"""One gRPC channel of the asyncio client: runs plans, turns failures into typed errors, watches health.

`connection.py` is its twin for programs that block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from altclip.calls import answers, forking
from altclip.calls.plan import PARTS_IN_FLIGHT, Part, Plan
from altclip.calls.status import typed_errors
from altclip.calls.stubs import Stubs
from altclip.channel import Endpoint, grpc_timeout, health_service, new_request_id, request_id_of
from altclip.errors import AltClipError, Cancelled, ClientUnusable, DeadlineExceeded, Unavailable
from altclip.inputs import text_of
from altclip.results import Limits, Model
from altclip.v1 import model_service_pb2

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Result = TypeVar("Result")


class AioConnection:
    """A channel and the stubs on it; it belongs to the event loop that uses it first."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = False
        self._stubs: Stubs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limits: dict[str, Limits] = {}

    async def close(self) -> None:
        """Ends what is under way with `Cancelled`."""
        if self._stubs is not None and not self.closed:
            self.check_loop()
            self.closed = True
            await self._stubs.channel.close()
        self.closed = True

    def check_loop(self) -> None:
        """Raises ClientUnusable in another process or on another event loop than before."""
        forking.check_asyncio()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ClientUnusable("no event loop of asyncio is running: use Client instead") from None
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientUnusable("this client belongs to another event loop: make one for each loop")

    @property
    def on_its_loop(self) -> bool:
        """Whether the event loop of this connection is the one that runs here."""
        return self._loop is asyncio.get_running_loop()

    def stubs(self) -> Stubs:
        """The stubs of this event loop. Raises ClientUnusable."""
        if self.closed:
            raise ClientUnusable("the client was closed")
        self.check_loop()
        if self._stubs is None:
            self._stubs = Stubs(self.endpoint, grpc.aio)
        return self._stubs

    async def run(self, plan: Plan[Result], timeout: float | None, request_id: str | None) -> Result:
        """Makes a call, in one part or several at a time, within one deadline. The first failure ends it."""
        request_id = request_id_of(request_id)
        tracing = self.endpoint.tracing
        if tracing is None:
            return await self._run(plan, timeout, request_id)
        with tracing.call(plan.method, plan.template.model, request_id):
            return await self._run(plan, timeout, request_id)

    async def _run(self, plan: Plan[Result], timeout: float | None, request_id: str) -> Result:
        deadline = time.monotonic() + self.endpoint.seconds(timeout)
        method = getattr(self.stubs().embedding, plan.method)
        limits = await self.limits_of(plan.template.model, timeout) if plan.large else None
        parts = plan.parts(limits)
        if len(parts) == 1:
            with plan.naming(parts[0]):
                left = deadline - time.monotonic()
                responses = [await self._call(method, parts[0].request, left, request_id)]
        else:
            responses = await self._together(plan, method, parts, deadline, request_id)
        return plan.decode(responses, request_id)

    def open_stream(self, timeout: float | None, request_id: str, span: Span | None = None) -> Any:
        """Opens EmbedStream, to be written and read. span: of a traced stream."""
        seconds = self.endpoint.seconds(timeout)
        stubs = self.stubs()
        with self.typed_errors(request_id):
            return stubs.embedding.EmbedStream(
                timeout=grpc_timeout(seconds), metadata=self.endpoint.metadata(request_id, span)
            )

    async def list_models(self, timeout: float | None) -> list[Model]:
        """The server's models."""
        return [answers.model(message) for message in (await self._listed(timeout)).models]

    async def server_version(self, timeout: float | None) -> str:
        """The version of the server's software."""
        return (await self._listed(timeout)).server_version

    async def get_model(self, name: str, timeout: float | None) -> Model:
        """One model."""
        request = model_service_pb2.GetModelRequest(name=text_of(name, "name"))
        seconds = self.endpoint.seconds(timeout)
        answer = await self._call(self.stubs().models.GetModel, request, seconds, new_request_id())
        return answers.model(answer.model)

    async def limits_of(self, model: str, timeout: float | None) -> Limits:
        """What a request to this model may hold; the server is asked once."""
        if model not in self._limits:
            self._limits[model] = (await self.get_model(model, timeout)).limits
        return self._limits[model]

    async def health(self, model: str, timeout: float | None) -> str:
        """The name of the serving status."""
        request = health_pb2.HealthCheckRequest(service=health_service(text_of(model, "model")))
        seconds = self.endpoint.seconds(timeout)
        try:
            answer = await self._call(self.stubs().health.Check, request, seconds, new_request_id())
        except AltClipError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:  # the health service's own way to say it
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    async def wait_until_ready(self, model: str, timeout: float | None) -> None:
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
                    async for answer in watch:
                        heard = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                        if heard == "SERVING":
                            return
            except (Unavailable, DeadlineExceeded):
                pass
            except asyncio.CancelledError as error:
                self.raise_if_closed(error, "")
                raise
            finally:
                if watch is not None:
                    watch.cancel()
            # A server may end each watch at once.
            await asyncio.sleep(min(0.1, max(0.0, deadline - time.monotonic())))
        raise DeadlineExceeded(f"{self.endpoint.address} was not ready after {seconds:g} s: {heard}")

    def typed_errors(self, request_id: str) -> AbstractContextManager[None]:
        """Turns what gRPC raises in the block into an `AltClipError`."""
        return typed_errors(self.endpoint.address, request_id, lambda: self.closed)

    def raise_if_closed(self, error: asyncio.CancelledError, request_id: str) -> None:
        """Raises Cancelled where gRPC cancelled a call because the client was closed; only a task that was
        cancelled itself stays so."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise Cancelled("the client was closed", request_id=request_id) from error

    async def _listed(self, timeout: float | None) -> model_service_pb2.ListModelsResponse:
        request, seconds = model_service_pb2.ListModelsRequest(), self.endpoint.seconds(timeout)
        answer: model_service_pb2.ListModelsResponse = await self._call(
            self.stubs().models.ListModels, request, seconds, new_request_id()
        )
        return answer

    async def _together(
        self, plan: Plan[Any], method: Any, parts: Sequence[Part], deadline: float, request_id: str
    ) -> list[Any]:
        gate = asyncio.Semaphore(PARTS_IN_FLIGHT)

        async def send(part: Part) -> Any:
            async with gate:
                with plan.naming(part):
                    return await self._call(method, part.request, deadline - time.monotonic(), request_id)

        tasks = [asyncio.create_task(send(part)) for part in parts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, method: Any, request: Any, seconds: float, request_id: str) -> Any:
        if seconds <= 0:
            raise DeadlineExceeded("no time was left to make the call", request_id=request_id)
        try:
            with forking.under_way(), self.typed_errors(request_id):
                metadata = self.endpoint.metadata(request_id)
                return await method(request, timeout=grpc_timeout(seconds), metadata=metadata)
        except asyncio.CancelledError as error:
            self.raise_if_closed(error, request_id)
            raise
