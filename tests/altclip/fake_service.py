"""A small AltCLIP service in this process: a real gRPC server that answers by rules and fails on request."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc, model_service_pb2_grpc
from altclip.v1 import model_service_pb2 as model_pb
from altclip.version import VERSION

DIMENSION = 4
LIMITS = model_pb.ModelLimits(max_texts=50, max_images=40, max_prompts=34, max_message_bytes=3 << 20)


@dataclass
class Status(grpc.Status):
    """What `abort_with_status` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Failure:
    """What a call shall end with."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "as the test asked"
    fields: Sequence[tuple[str, str]] = ()
    retry_after: float | None = None
    pushback_ms: str = ""

    def proto(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        details: list[Any] = []
        if self.reason:
            details.append(error_details_pb2.ErrorInfo(reason=self.reason, domain="altclip"))
        if self.fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=path, description=what)
                for path, what in self.fields
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status

    def status(self) -> Status:
        metadata: list[tuple[str, str | bytes]] = []
        if self.proto().details:
            metadata.append(("grpc-status-details-bin", self.proto().SerializeToString()))
        if self.pushback_ms:
            metadata.append(("grpc-retry-pushback-ms", self.pushback_ms))
        return Status(self.code, self.message, tuple(metadata))


POISONED = Failure(grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG")


@dataclass
class FakeService(
    embedding_service_pb2_grpc.EmbeddingServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Embeds a text as [its length, 1, 2, 3] and a picture as [its bytes, 4, 5, 6].

    `failures` are what the next calls of a method end with; `arrived` are the methods that were called, also
    while `lock` is held and nothing is answered; `seen` is what was asked; `revisions` are given to the next
    answers; `version` is what ListModels tells. A stream fails an item whose text is "poison", never answers
    one that is "unanswered", and ends after `stream_limit` items, with the next failure of "after"; behind
    the last of these there is no limit. While there is a `refusal`, every item of a stream fails with it.
    `described` are what the next answers of GetModel say beside the rest; the last one stays.
    """

    failures: dict[str, list[Failure]] = field(default_factory=lambda: defaultdict(list))
    arrived: list[str] = field(default_factory=list)
    seen: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    metadata: list[dict[str, Any]] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)
    described: list[dict[str, str]] = field(default_factory=list)
    version: str = VERSION
    stream_read: int = 0
    stream_limit: int | None = None
    refusal: Failure | None = None
    stream_gate: threading.Event = field(default_factory=threading.Event)
    stream_ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.stream_gate.set()

    def begin(self, method: str, request: Any, context: grpc.ServicerContext) -> str:
        with self.lock:
            self.seen[method].append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            failure = self.failures[method].pop(0) if self.failures[method] else None
            revision = self.revisions.pop(0) if self.revisions else "0123456789abcdef"
        if failure is not None:
            context.abort_with_status(failure.status())
        return revision

    def EmbedText(self, request: Any, context: grpc.ServicerContext) -> pb.EmbedTextResponse:
        revision = self.begin("EmbedText", request, context)
        return pb.EmbedTextResponse(
            model=request.model or "first",
            embeddings=encoded([text_vector(text) for text in request.texts], request.options.encoding),
            token_counts=[len(text) for text in request.texts],
            truncated=[i for i, text in enumerate(request.texts) if text.endswith("long")],
            timings=timings(),
            revision=revision,
        )

    def EmbedImage(self, request: Any, context: grpc.ServicerContext) -> pb.EmbedImageResponse:
        revision = self.begin("EmbedImage", request, context)
        rows = [image_vector(image) for image in request.images]
        return pb.EmbedImageResponse(
            model=request.model or "first",
            embeddings=encoded(rows, request.options.encoding),
            timings=timings(),
            revision=revision,
        )

    def Similarity(self, request: Any, context: grpc.ServicerContext) -> pb.SimilarityResponse:
        self.begin("Similarity", request, context)
        indices = list(range(request.top_k))
        width = request.top_k or len(request.candidates)
        rows = [
            pb.ScoreRow(scores=[q * 10 + c for c in range(width)], indices=indices)
            for q, _ in enumerate(request.queries)
        ]
        return pb.SimilarityResponse(model="first", logit_scale=100.0, rows=rows, truncated=[1])

    def ClassifyImage(self, request: Any, context: grpc.ServicerContext) -> pb.ClassifyImageResponse:
        self.begin("ClassifyImage", request, context)
        labels = [
            pb.LabelScore(label=label, index=i, probability=0.5) for i, label in enumerate(request.labels)
        ]
        results = [pb.Classification(labels=labels) for _ in request.images]
        return pb.ClassifyImageResponse(model="first", results=results)

    def EncodePrompt(self, request: Any, context: grpc.ServicerContext) -> pb.EncodePromptResponse:
        self.begin("EncodePrompt", request, context)
        count, dtype = len(request.texts), "<f2" if request.encoding == pb.ENCODING_FLOAT16 else "<f4"
        states = np.broadcast_to(np.arange(6, dtype=dtype), (count, 77, 6))
        mask = np.zeros((count, 77), np.uint8)
        for row, text in enumerate(request.texts):
            mask[row, : len(text) + 2] = 1
        return pb.EncodePromptResponse(
            model="first",
            count=count,
            token_count=77,
            dimension=6,
            data=states.tobytes(),
            attention_mask=mask.tobytes(),
            truncated=[0],
            encoding=request.encoding,
        )

    def EmbedStream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(self.stream_ended.set)
        config = next(requests)
        revision = self.begin("EmbedStream", config, context)
        answered = 0
        for request in requests:
            with self.lock:
                self.stream_read += len(request.batch.items)
            self.stream_gate.wait()
            answer = pb.EmbedStreamResponse(timings=timings(), revision=revision)
            rows: list[list[float]] = []
            for item in reversed(request.batch.items):  # any order is right
                if self.stream_limit == answered:
                    break
                if item.text == "unanswered":
                    continue
                answered += 1
                self.seen["answered"].append(item.id)
                if item.text == "poison" or self.refusal is not None:
                    failed = (self.refusal or POISONED).proto()
                    answer.errors.append(pb.StreamError(id=item.id, status=failed))
                    continue
                if item.text == "long":
                    answer.truncated.append(len(rows))
                rows.append(image_vector(item.image) if item.HasField("image") else text_vector(item.text))
                answer.ids.append(item.id)
                answer.token_counts.append(len(item.text))
            answer.embeddings.CopyFrom(encoded(rows, config.config.options.encoding))
            yield answer
            if self.stream_limit == answered:
                if self.failures["after"]:
                    failure = self.failures["after"].pop(0)
                    self.stream_limit = self.stream_limit if self.failures["after"] else None
                    context.abort_with_status(failure.status())
                return

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> model_pb.ListModelsResponse:
        self.begin("ListModels", request, context)
        return model_pb.ListModelsResponse(
            models=[a_model("first"), a_model("second")], server_version=self.version
        )

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> model_pb.GetModelResponse:
        self.begin("GetModel", request, context)
        model = a_model(request.name or "first")
        with self.lock:
            said = self.described[0] if self.described else {}
            if len(self.described) > 1:
                self.described.pop(0)
        for name, value in said.items():
            setattr(model, name, value)
        return model_pb.GetModelResponse(model=model)


class _Arrivals(grpc.ServerInterceptor):
    """Notes the method of every call, before its message is read."""

    def __init__(self, arrived: list[str]) -> None:
        self._arrived = arrived

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """gRPC's hook."""
        self._arrived.append(details.method.rpartition("/")[2])
        return continuation(details)


@dataclass
class RunningFake:
    """The fake behind its port."""

    service: FakeService
    health: health.HealthServicer
    server: grpc.Server
    address: str

    def stop(self) -> None:
        self.service.stream_gate.set()
        self.server.stop(None).wait()


def start_fake(
    address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> RunningFake:
    service, health_servicer = FakeService(), health.HealthServicer()
    server = grpc.server(
        futures.ThreadPoolExecutor(16),
        interceptors=[_Arrivals(service.arrived)],
        options=[("grpc.max_receive_message_length", 36 << 20)],
    )
    embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    health_servicer.set("altclip.v1.EmbeddingService", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return RunningFake(service, health_servicer, server, f"{address.rpartition(':')[0]}:{port}")


def text_vector(text: str) -> list[float]:
    return [len(text), 1, 2, 3]


def image_vector(image: pb.Image) -> list[float]:
    return [len(image.content), 4, 5, 6]


def encoded(rows: Sequence[Sequence[float]], encoding: pb.Encoding.ValueType) -> pb.Embeddings:
    """A matrix in the encoding asked for, made without the client's code."""
    matrix = np.array(rows, np.float32).reshape(len(rows), DIMENSION)
    answer = pb.Embeddings(
        encoding=encoding or pb.ENCODING_FLOAT32, count=len(rows), dimension=DIMENSION, data=b""
    )
    if encoding == pb.ENCODING_FLOAT16:
        answer.data = matrix.astype("<f2").tobytes()
    elif encoding == pb.ENCODING_INT8:
        scales = np.abs(matrix).max(axis=1) / 127
        answer.data = np.rint(matrix / scales[:, None]).astype(np.int8).tobytes()
        answer.scales.extend(scales)
    elif encoding == pb.ENCODING_BINARY:
        answer.data = np.packbits(matrix > 0, axis=1).tobytes()
    else:
        answer.data = matrix.astype("<f4").tobytes()
    return answer


def timings() -> pb.Timings:
    queue, inference = duration_pb2.Duration(nanos=2_000_000), duration_pb2.Duration(nanos=30_000_000)
    return pb.Timings(queue_duration=queue, inference_duration=inference, batch_size=7)


def a_model(name: str) -> model_pb.Model:
    return model_pb.Model(
        name=name,
        aliases=[f"{name}-clip"],
        source="bundled",
        languages=["en", "zh"],
        dimension=DIMENSION,
        ready=True,
        limits=LIMITS,
    )
