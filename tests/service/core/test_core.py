"""What the RPCs answer, apart from their errors."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from service.frontend.api.errors import DeadlineTooShort
from service.frontend.api.messages import Matrix, Options
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.grpc.models import source
from tests.service.fake_pools import DIMENSION, SHA256, stub_spec
from tests.service.running import Running, pictures, running
from worker.runtime.notices import Modality, Priority

FILES = pictures(3)
IMAGES = [pb.Image(content=file) for file in FILES]
LONG = "word " * 30


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running("first", "second", options="logit_scale=20") as made:
        yield made


def rows(embeddings: pb.Embeddings) -> Matrix:
    return np.frombuffer(embeddings.data, "<f4").reshape(embeddings.count, embeddings.dimension)


async def vectors(service: Running, *texts: str) -> Matrix:
    return rows((await service.call("EmbedText", pb.EmbedTextRequest(texts=texts))).embeddings)


async def test_texts_are_embedded_in_order_with_their_token_counts(service: Running) -> None:
    texts = ["a", "two words", "", "two words"]
    answer = await service.call("EmbedText", pb.EmbedTextRequest(texts=texts))
    found = rows(answer.embeddings)
    assert found.shape == (4, DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(found[1], found[3])
    assert list(answer.token_counts) == [3, 4, 2, 4]
    assert answer.model == "first"
    assert answer.revision == SHA256[:16]
    assert answer.timings.queue_duration.nanos == 250_000_000
    assert answer.timings.inference_duration.seconds == 1
    assert answer.timings.batch_size == 3  # what is there twice is computed once


async def test_the_raw_vectors_are_the_encoders_own(service: Running) -> None:
    raw = pb.EmbeddingOptions(normalize=False)
    answer = await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"], options=raw))
    payload = service.pool.computed[-1].payload
    np.testing.assert_array_equal(rows(answer.embeddings), service.pool.encoder.text([payload])())  # type: ignore[list-item]


async def test_long_texts_are_cut_and_reported(service: Running) -> None:
    answer = await service.call("EmbedText", pb.EmbedTextRequest(texts=["a", LONG, "b", LONG]))
    assert list(answer.truncated) == [1, 3]
    assert list(answer.token_counts) == [3, 20, 3, 20]


async def test_the_named_model_answers(service: Running) -> None:
    answer = await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"], model="second"))
    assert answer.model == "second"
    assert len(service.pools.get("second").computed) == 1
    assert service.pools.get("first").computed == []


@pytest.mark.parametrize(
    ("encoding", "size", "atol"),
    [
        (pb.ENCODING_FLOAT32, 64, 0.0),
        (pb.ENCODING_FLOAT16, 32, 1e-3),
        (pb.ENCODING_INT8, 16, 1e-2),
        (pb.ENCODING_BINARY, 2, 9.0),
    ],
)
async def test_encodings(service: Running, encoding: Any, size: int, atol: float) -> None:
    options = pb.EmbeddingOptions(encoding=encoding)
    answer = (
        await service.call("EmbedImage", pb.EmbedImageRequest(images=IMAGES, options=options))
    ).embeddings
    plain = rows((await service.call("EmbedImage", pb.EmbedImageRequest(images=IMAGES))).embeddings)
    assert (answer.encoding, answer.count, answer.dimension) == (encoding, 3, DIMENSION)
    assert len(answer.data) == 3 * size
    assert len(answer.scales) == (3 if encoding == pb.ENCODING_INT8 else 0)
    if encoding == pb.ENCODING_FLOAT16:
        np.testing.assert_allclose(np.frombuffer(answer.data, "<f2").reshape(3, -1), plain, atol=atol)
    if encoding == pb.ENCODING_INT8:
        whole = np.frombuffer(answer.data, np.int8).reshape(3, -1)
        np.testing.assert_allclose(whole * np.array(answer.scales)[:, None], plain, atol=atol)
    if encoding == pb.ENCODING_BINARY:
        np.testing.assert_array_equal(
            np.frombuffer(answer.data, np.uint8), np.packbits(plain > 0, axis=1).ravel()
        )


async def test_both_sides_of_a_similarity_take_texts_pictures_and_vectors(service: Running) -> None:
    made = rows((await service.call("EmbedImage", pb.EmbedImageRequest(images=IMAGES[:1]))).embeddings)
    made = np.concatenate([made, await vectors(service, "a", "b")])
    scaled = (made[1] * 7.5).astype("<f4").tobytes()  # the server normalises it
    items = [pb.Item(image=IMAGES[0]), pb.Item(vector=scaled), pb.Item(text="b")]
    answer = await service.call("Similarity", pb.SimilarityRequest(queries=items, candidates=items[::-1]))
    assert answer.logit_scale == 20.0
    found = np.array([list(row.scores) for row in answer.rows])
    np.testing.assert_allclose(found, made @ made[::-1].T, atol=1e-6)
    assert all(not row.indices for row in answer.rows)


async def test_the_three_scores(service: Running) -> None:
    texts = [pb.Item(text=text) for text in "abcde"]

    async def scores(kind: Any, top_k: int = 0) -> list[pb.ScoreRow]:
        request = pb.SimilarityRequest(queries=texts[:2], candidates=texts[2:], score=kind, top_k=top_k)
        return list((await service.call("Similarity", request)).rows)

    cosine, logit, probability = [
        np.array([list(row.scores) for row in await scores(kind)])
        for kind in (pb.SCORE_COSINE, pb.SCORE_LOGIT, pb.SCORE_PROBABILITY)
    ]
    np.testing.assert_allclose(logit, cosine * 20, atol=1e-4)
    np.testing.assert_allclose(probability, np.exp(logit) / np.exp(logit).sum(1, keepdims=True), atol=1e-6)
    for row, whole in zip(await scores(pb.SCORE_PROBABILITY, 2), probability, strict=True):
        assert list(row.indices) == np.argsort(-whole)[:2].tolist()
        np.testing.assert_array_equal(np.array(row.scores), whole[np.argsort(-whole)[:2]])


async def test_vectors_alone_need_no_computing(service: Running) -> None:
    items = [pb.Item(vector=np.eye(DIMENSION, dtype="<f4")[index].tobytes()) for index in range(3)]
    answer = await service.call("Similarity", pb.SimilarityRequest(queries=items, candidates=items))
    np.testing.assert_array_equal([list(row.scores) for row in answer.rows], np.eye(3))
    assert service.pool.computed == []
    assert answer.timings.batch_size == 0


async def test_cut_texts_of_a_similarity_are_counted_through_both_sides(service: Running) -> None:
    items = [pb.Item(text="a"), pb.Item(text=LONG), pb.Item(image=IMAGES[0])]
    answer = await service.call("Similarity", pb.SimilarityRequest(queries=items, candidates=items))
    assert list(answer.truncated) == [1, 4]


async def test_a_large_similarity_leaves_the_loop_free(service: Running) -> None:
    generator = np.random.default_rng(0)
    items = [
        pb.Item(vector=row.tobytes()) for row in generator.standard_normal((500, DIMENSION)).astype("<f4")
    ]
    answer = await service.call("Similarity", pb.SimilarityRequest(queries=items, candidates=items, top_k=1))
    assert [row.indices[0] for row in answer.rows] == list(range(500))


async def test_prompt_states_and_their_mask(service: Running) -> None:
    request = pb.EncodePromptRequest(texts=["a b", "", LONG])
    answer = await service.call("EncodePrompt", request)
    assert (answer.count, answer.token_count, answer.dimension) == (3, 20, 12)
    states = np.frombuffer(answer.data, "<f4").reshape(3, 20, 12)
    mask = np.frombuffer(answer.attention_mask, np.uint8).reshape(3, 20)
    assert mask.sum(axis=1).tolist() == [4, 2, 20]
    assert (mask[:, :-1] >= mask[:, 1:]).all()
    assert list(answer.truncated) == [2]
    assert answer.encoding == pb.ENCODING_FLOAT32
    payloads = [item.payload for item in service.pool.computed]
    np.testing.assert_array_equal(states, service.pool.encoder.prompt(payloads, [0, 0, 0])())  # type: ignore[arg-type]

    request.states = pb.PROMPT_STATES_ALTCLIP
    request.encoding = pb.ENCODING_FLOAT16
    other = await service.call("EncodePrompt", request)
    assert {item.variant for item in service.pool.computed[3:]} == {1}
    expected = service.pool.encoder.prompt(payloads, [1, 1, 1])()  # type: ignore[arg-type]
    np.testing.assert_allclose(
        np.frombuffer(other.data, "<f2").reshape(3, 20, 12), expected, rtol=1e-3, atol=1e-3
    )


async def test_priorities(service: Running) -> None:
    values: tuple[Any, ...] = (0, pb.PRIORITY_INTERACTIVE, pb.PRIORITY_BULK)
    for value in values:
        await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"], priority=value))
    assert service.pool.priorities == [Priority.INTERACTIVE, Priority.INTERACTIVE, Priority.BULK]


async def test_a_model_without_a_worker_is_unavailable(service: Running) -> None:
    service.pool.ready = False
    refused = await service.refusal("EmbedText", pb.EmbedTextRequest(texts=["a"]))
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")
    assert refused.retry_seconds > 0
    await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"], model="second"))


async def test_models_are_listed_with_what_they_are_and_take(service: Running) -> None:
    service.pools.get("second").ready = False
    first, second = (await service.call("ListModels", models_pb.ListModelsRequest())).models
    assert (first.name, first.ready, second.name, second.ready) == ("first", True, "second", False)
    assert (first.dimension, first.state_dimension, first.max_tokens, first.image_size) == (16, 12, 20, 32)
    assert (first.revision, first.weights_sha256) == (SHA256[:16], SHA256)
    assert (first.logit_scale, first.device, first.dtype) == (20.0, "cpu", "float32")
    assert len(first.languages) == 9
    assert first.limits.max_texts == 256
    assert first.limits.max_images == 64
    assert first.limits.max_message_bytes >= 32 << 20
    default = (await service.call("GetModel", models_pb.GetModelRequest())).model
    assert default == first
    assert (await service.call("GetModel", models_pb.GetModelRequest(name="second"))).model == second


async def test_a_call_whose_deadline_has_passed_does_no_work(service: Running) -> None:
    core: Core = service.server.core
    with pytest.raises(DeadlineTooShort):
        await core.embed_text(Call(deadline=time.monotonic() - 1), "", ["a"], Options())
    assert service.pool.computed == []


async def test_every_call_leaves_the_queue_as_it_found_it(service: Running) -> None:
    await asyncio.gather(
        *(service.call("EmbedText", pb.EmbedTextRequest(texts=["a"] * 9)) for _ in range(20)),
        *(
            service.refusal("EmbedImage", pb.EmbedImageRequest(images=[pb.Image(content=b"x")]))
            for _ in range(20)
        ),
    )
    assert all(model.admission.in_flight == 0 for model in service.server.core)
    assert {item.modality for item in service.pool.computed} == {Modality.TEXT}


@pytest.mark.parametrize(
    ("given", "directory", "revision", "shown"),
    [
        ("bundled", "/opt/site-packages/worker/bundled", "", "bundled"),
        ("/srv/secret/place/m9", "/srv/secret/place/m9", "abc", "m9"),
        ("BAAI/AltCLIP-m9", "/cache/snapshots/0123", "0123", "BAAI/AltCLIP-m9@0123"),
        ("BAAI/AltCLIP@main", "/cache/snapshots/4567", "4567", "BAAI/AltCLIP@4567"),
        ("stub:dimension=8", "", "", "stub:dimension=8"),
    ],
)
def test_where_a_model_came_from_is_told_without_paths(
    given: str, directory: str, revision: str, shown: str
) -> None:
    spec = dataclasses.replace(stub_spec(), source=given, directory=directory, revision=revision)
    assert source(spec) == shown
