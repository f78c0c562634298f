"""EmbeddingService over gRPC: each RPC as a call of the core. `grpc/messages.py` translates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api import encodings, validation
from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Encoding, Scores, StreamItem, StreamResults
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.core.scoring import in_turns
from service.frontend.core.stream import Session
from service.frontend.core.zero_shot import classify
from service.frontend.grpc.handlers import StreamMethod, UnaryMethod, parse
from service.frontend.grpc.messages import (
    STATES,
    TRUNCATIONS,
    classification,
    embeddings,
    images,
    items,
    one_of,
    options,
    orientation,
    priority,
    score_row,
    stream_items,
    stream_response,
    strings,
    timings,
)
from worker.runtime.notices import Priority

__all__ = ["EmbeddingServicer"]


class EmbeddingServicer:
    """The RPCs of EmbeddingService."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._limits = validation.Limits.of(core.settings)

    def methods(self) -> Mapping[str, UnaryMethod | StreamMethod]:
        """Each RPC by its name."""
        return {
            "EmbedText": (pb.EmbedTextRequest, self.embed_text),
            "EmbedImage": (pb.EmbedImageRequest, self.embed_image),
            "Similarity": (pb.SimilarityRequest, self.similarity),
            "ClassifyImage": (pb.ClassifyImageRequest, self.classify_image),
            "EncodePrompt": (pb.EncodePromptRequest, self.encode_prompt),
            "EmbedStream": self.embed_stream,
        }

    async def embed_text(self, request: pb.EmbedTextRequest, call: Call) -> pb.EmbedTextResponse:
        call.priority = priority(request.priority, Priority.INTERACTIVE)
        wanted = options(request.options)
        texts = strings("texts", request.texts, self._limits.max_texts)
        done = await self._core.embed_text(call, request.model, texts, wanted)
        response = pb.EmbedTextResponse(
            model=done.model,
            token_counts=done.token_counts,
            revision=done.revision,
        )
        if done.truncated:
            response.truncated.extend(done.truncated)
        embeddings(response.embeddings, done.rows, wanted.encoding)
        timings(response.timings, done.timings)
        return response

    async def embed_image(self, request: pb.EmbedImageRequest, call: Call) -> pb.EmbedImageResponse:
        call.priority = priority(request.priority, Priority.INTERACTIVE)
        wanted = options(request.options)
        given = images("images", request.images, self._limits.max_images)
        done = await self._core.embed_image(call, request.model, given, wanted)
        response = pb.EmbedImageResponse(
            model=done.model,
            revision=done.revision,
        )
        embeddings(response.embeddings, done.rows, wanted.encoding)
        timings(response.timings, done.timings)
        return response

    async def similarity(self, request: pb.SimilarityRequest, call: Call) -> pb.SimilarityResponse:
        call.priority = priority(request.priority, Priority.INTERACTIVE)
        done = await self._core.similarity(
            call,
            request.model,
            items("queries", request.queries, self._limits.max_items),
            items("candidates", request.candidates, self._limits.max_items),
            validation.choice("score", request.score, Scores, Scores.COSINE),
            request.top_k,
            orientation("orientation", request.orientation),
        )
        response = pb.SimilarityResponse(
            model=done.model,
            logit_scale=done.logit_scale,
            revision=done.revision,
            truncated=done.truncated,
        )
        async for row in in_turns(done.rows, sum(len(row.scores) for row in done.rows)):
            score_row(response.rows.add(), row)
        timings(response.timings, done.timings)
        return response

    async def classify_image(self, request: pb.ClassifyImageRequest, call: Call) -> pb.ClassifyImageResponse:
        call.priority = priority(request.priority, Priority.INTERACTIVE)
        labels = strings("labels", request.labels, self._limits.max_labels)
        done = await classify(
            self._core,
            call,
            request.model,
            images("images", request.images, self._limits.max_images),
            labels,
            language=request.language,
            templates=strings("templates", request.templates, self._limits.max_templates),
            top_k=request.top_k,
            orientation=orientation("orientation", request.orientation),
        )
        response = pb.ClassifyImageResponse(
            model=done.model,
            revision=done.revision,
            truncated=done.truncated,
        )
        async for result in in_turns(done.results, sum(len(result.indices) for result in done.results)):
            classification(response.results.add(), result, labels)
        timings(response.timings, done.timings)
        return response

    async def encode_prompt(self, request: pb.EncodePromptRequest, call: Call) -> pb.EncodePromptResponse:
        call.priority = priority(request.priority, Priority.INTERACTIVE)
        encoding = validation.choice("encoding", request.encoding, Encoding, Encoding.FLOAT32)
        if encoding not in (Encoding.FLOAT32, Encoding.FLOAT16):
            raise InvalidRequest.at("encoding", "must be FLOAT32 or FLOAT16")
        variant = one_of("states", request.states, STATES)
        reject = one_of("truncation", request.truncation, TRUNCATIONS)
        texts = strings("texts", request.texts, self._limits.max_prompts)
        done = await self._core.encode_prompt(call, request.model, texts, variant, reject)
        count, token_count, dimension = done.states.shape
        data, _ = encodings.encode(done.states.reshape(count * token_count, dimension), encoding)
        response = pb.EncodePromptResponse(
            model=done.model,
            count=count,
            token_count=token_count,
            dimension=dimension,
            data=data,
            attention_mask=done.attention_mask.tobytes(),
            truncated=done.truncated,
            revision=done.revision,
            encoding=int(encoding),  # type: ignore[arg-type]
        )
        timings(response.timings, done.timings)
        return response

    async def embed_stream(
        self,
        read: Callable[[], Awaitable[bytes | None]],
        write: Callable[[bytes], Awaitable[None]],
        call: Call,
    ) -> None:
        raw = await read()
        first = parse(pb.EmbedStreamRequest, raw) if raw is not None else pb.EmbedStreamRequest()
        if first.WhichOneof("message") != "config":
            raise InvalidRequest.at("config", "must be the first message")
        call.priority = priority(first.config.priority, Priority.BULK, "config.priority")
        wanted = options(first.config.options, "config.options")
        session = Session(self._core, call, first.config.model, wanted)
        most = session.model.limits.max_stream_items

        async def read_items() -> Sequence[StreamItem] | None:
            raw = await read()
            return None if raw is None else stream_items(parse(pb.EmbedStreamRequest, raw), most)

        async def write_results(results: StreamResults) -> None:
            await write(stream_response(results, wanted.encoding).SerializeToString())

        await session.run(read_items, write_results)
