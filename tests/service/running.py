"""A frontend's real gRPC server on a loopback port, over pools that compute in this process with the stub
family.

async with running(max_texts=4) as service:
    await service.call("EmbedText", pb.EmbedTextRequest(texts=["cat"]))
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from service.config import rpcs
from service.config.settings import Settings
from service.frontend import server
from service.frontend.compute.pool import Pools
from service.frontend.grpc import server as grpc_transport
from tests.service.fake_pools import FakePool, FakePools, stub_spec
from worker.runtime import logs
from worker.runtime.metrics import Layout, Metrics

__all__ = [
    "EMBEDDING",
    "LONG",
    "Refused",
    "Running",
    "counted",
    "detail",
    "eventually",
    "health",
    "held",
    "line",
    "lingering",
    "pictures",
    "release",
    "running",
    "too_late",
]

LONG = "word " * 30
"""A text of more tokens than the stub takes."""
EMBEDDING = "altclip.v1.EmbeddingService"
MODELS = "altclip.v1.ModelService"
ANSWERS: dict[str, tuple[str, type[Message]]] = {
    "EmbedText": (EMBEDDING, pb.EmbedTextResponse),
    "EmbedImage": (EMBEDDING, pb.EmbedImageResponse),
    "Similarity": (EMBEDDING, pb.SimilarityResponse),
    "ClassifyImage": (EMBEDDING, pb.ClassifyImageResponse),
    "EncodePrompt": (EMBEDDING, pb.EncodePromptResponse),
    "ListModels": (MODELS, models_pb.ListModelsResponse),
    "GetModel": (MODELS, models_pb.GetModelResponse),
}


class Refused(AssertionError):
    """A call ended with an error, which is taken apart here."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        trailers = error.trailing_metadata() or ()
        self.code = error.code().name
        self.message = error.details() or ""
        self.trailers = dict(trailers)
        raw = self.trailers.get("grpc-status-details-bin", b"")
        self.size = len(raw)
        self.status = status_pb2.Status.FromString(cast(bytes, raw))
        super().__init__(f"{self.code}: {self.message}")

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        """The one ErrorInfo."""
        assert (
            len([each for each in self.status.details if each.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)])
            == 1
        )
        return detail(self.status, error_details_pb2.ErrorInfo)

    @property
    def reason(self) -> str:
        return str(self.info.reason)

    @property
    def paths(self) -> list[str]:
        """The fields at fault."""
        found = detail(self.status, error_details_pb2.BadRequest)
        return [violation.field for violation in found.field_violations]

    @property
    def retry_seconds(self) -> float:
        """0 where no other try is recommended."""
        delay = detail(self.status, error_details_pb2.RetryInfo).retry_delay
        return float(delay.seconds + delay.nanos / 1e9)


def detail(status: status_pb2.Status, kind: Any) -> Any:
    """The detail of that type, an empty one where there is none."""
    found = kind()
    for each in status.details:
        if each.Is(kind.DESCRIPTOR):
            each.Unpack(found)
    return found


@dataclass
class Running:
    """A server that listens, and a channel to it."""

    server: server.Server
    pools: FakePools
    metrics: Metrics
    channel: Any
    """A grpc.aio.Channel; its types want serialisers."""
    settings: Settings

    @property
    def address(self) -> str:
        """Where gRPC listens."""
        return self.server.addresses["grpc"]

    @property
    def http(self) -> str:
        """Where HTTP listens."""
        return self.server.addresses["http"]

    @property
    def pool(self) -> FakePool:
        """That of the default model."""
        return self.pools.get("")

    async def call(self, method: str, request: Message | bytes, **options: Any) -> Any:
        """The answer; raises Refused."""
        service, answer = ANSWERS[method]
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        stub = self.channel.unary_unary(f"/{service}/{method}")
        try:
            return answer.FromString(await stub(raw, **options))
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None

    async def refusal(self, method: str, request: Message | bytes, **options: Any) -> Refused:
        """The error of a call that must fail."""
        try:
            answer = await self.call(method, request, **options)
        except Refused as refused:
            return refused
        raise AssertionError(f"{method} answered {str(answer)[:200]}")

    def stream(self, **options: Any) -> Any:
        """An EmbedStream call that takes requests and gives responses."""
        stub = self.channel.stream_stream(
            f"/{EMBEDDING}/EmbedStream",
            request_serializer=pb.EmbedStreamRequest.SerializeToString,
            response_deserializer=pb.EmbedStreamResponse.FromString,
        )
        return stub(**options)

    def requests(self, method: str, code: str) -> float:
        """How many calls the metrics have counted."""
        return self.metrics.requests.value(method, code)


@asynccontextmanager
async def running(
    *names: str,
    options: str = "",
    channel_options: Sequence[tuple[str, Any]] = (),
    files: dict[str, bytes] | None = None,
    callers: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Running]:
    """A server with these models (default: one, "m"), ready at once; HTTP listens where `http_address` says.

    options: of the stub. files, callers: as the supervisor gives them.
    """
    chosen = dataclasses.replace(
        Settings(grpc_address="127.0.0.1:0", http_address="", preprocess_threads=2), **settings
    )
    pools = FakePools([stub_spec(name, options) for name in names or ("m",)])
    layout = Layout(
        models=tuple(pools.pools),
        devices=("cpu",),
        callers=tuple(callers),
        methods=rpcs.METHODS,
        codes=rpcs.CODES,
    )
    metrics = Metrics.local(layout)
    given = {} if files is None else files  # the same mapping: tests change it
    transports: list[server.Listen] = [grpc_transport.listen]
    if chosen.http_address:
        from service.frontend.http import server as http_transport

        transports.append(http_transport.listen)
    made = await server.start(chosen, cast(Pools, pools), metrics, given, transports)
    try:
        async with grpc.aio.insecure_channel(made.addresses["grpc"], options=channel_options) as channel:
            yield Running(made, pools, metrics, channel, chosen)
    finally:
        await made.drain(0.0)


def health(service: Running) -> Any:
    """A stub of grpc.health.v1."""
    return HealthStub(service.channel)


def pictures(count: int, size: int = 40) -> list[bytes]:
    """Different small PNG files."""
    import io

    from PIL import Image

    files = []
    for number in range(count):
        generator = np.random.default_rng(number)
        pixels = generator.integers(0, 256, (size, size, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
    return files


def lingering(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """A server that drains closes its connections when this is set, and not after `LINGER` seconds."""
    close_connections = asyncio.Event()

    async def linger(seconds: float) -> None:
        if seconds > 0:
            await close_connections.wait()

    monkeypatch.setattr(server, "_linger", linger)
    return close_connections


def line(record: logging.LogRecord) -> dict[str, Any]:
    """The line that the service's log has of this record."""
    parsed: dict[str, Any] = json.loads(logs._Lines("altclip-frontend 0")._render(record))
    return parsed


async def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        await asyncio.sleep(0.01)


async def held(service: Running, *requests: pb.EmbedTextRequest) -> list[asyncio.Task[Any]]:
    """These calls, under way one after another and waiting for the device."""
    service.pool.hold = service.pool.hold or asyncio.Event()
    accepted = service.metrics.accepted.value("m", "text")
    calls = []
    for request in requests:
        calls.append(asyncio.create_task(service.call("EmbedText", request)))
        accepted += len(request.texts)
        await eventually(lambda: service.metrics.accepted.value("m", "text") == accepted)  # noqa: B023
    await eventually(lambda: service.pool.deadlines)
    return calls


async def too_late(service: Running, call: Callable[[float], Awaitable[Any]]) -> None:
    """Makes a call whose time, in seconds, is up while the device works for it.

    A short time may be up before a busy machine has begun the call: then it is made again with a longer one.
    """
    for seconds in (0.2, 2.0, 20.0):
        await call(seconds)
        if service.pool.deadlines:
            return
    raise AssertionError("the device was never asked")


def release(service: Running) -> None:
    assert service.pool.hold is not None
    service.pool.hold.set()


def counted(service: Running, modality: str = "text") -> dict[str, float]:
    return {
        outcome: service.metrics.items.value("m", modality, outcome)
        for outcome in ("ok", "failed", "cancelled")
    }
