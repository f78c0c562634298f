"""The documented bodies of Text Embeddings Inference, and the client of the Hugging Face hub."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient

from altclip.v1 import embedding_service_pb2 as pb
from altclip.version import VERSION
from service.frontend.api.errors import Internal
from tests.service.fake_pools import DIMENSION, SHA256
from tests.service.http.asking import KEY, Answer, Asking, asking, keyed
from tests.service.running import eventually

SHARED = pytest.mark.asyncio(loop_scope="session")
LONG = "word " * 30


def shown(answer: Answer) -> tuple[int, str]:
    """Status and type of an error."""
    assert list(answer.json) == ["error", "error_type"]
    assert answer.json["error"]
    return answer.status, answer.json["error_type"]


async def grpc(http: Asking, *texts: str, **options: Any) -> Any:
    request = pb.EmbedTextRequest(texts=texts, options=pb.EmbeddingOptions(**options))
    return (await http.service.call("EmbedText", request)).embeddings.data


def joined(rows: Any) -> bytes:
    return np.array(rows, "<f4").tobytes()


@SHARED
@pytest.mark.parametrize("path", ["/", "/embed"])
async def test_a_text_and_a_list_of_them_are_lists_of_rows(shared: Asking, path: str) -> None:
    one = await shared.post(path, {"inputs": "What is Deep Learning?"})
    assert joined(one.json) == await grpc(shared, "What is Deep Learning?")
    assert len(one.json) == 1
    body = {
        "inputs": ["a", "two words"],
        "normalize": True,
        "prompt_name": None,
        "truncate": False,
        "truncation_direction": "Right",
        "dimensions": DIMENSION,
    }
    assert joined((await shared.post(path, body)).json) == await grpc(shared, "a", "two words")


@SHARED
async def test_rows_are_as_computed_where_normalize_is_false(shared: Asking) -> None:
    answer = await shared.post("/embed", {"inputs": "a", "normalize": False})
    assert joined(answer.json) == await grpc(shared, "a", normalize=False)


@SHARED
async def test_a_text_that_is_too_long_is_cut_unless_truncate_is_false(shared: Asking) -> None:
    cut = await shared.post("/embed", {"inputs": ["a", LONG]})
    assert joined(cut.json) == await grpc(shared, "a", LONG)
    for path, body in (
        ("/embed", {"inputs": ["a", LONG], "truncate": False}),
        (
            "/similarity",
            {
                "inputs": {"source_sentence": "a", "sentences": ["b", LONG]},
                "parameters": {"truncate": False},
            },
        ),
    ):
        answer = await shared.post(path, body)
        assert shown(answer) == (413, "Validation")
        assert "[1]: " in answer.json["error"]


@SHARED
async def test_similarities_are_cosines(shared: Asking) -> None:
    sentences = ["a cat", "a dog", "日本"]
    answer = await shared.post(
        "/similarity", {"inputs": {"source_sentence": "a cat", "sentences": sentences}}
    )
    request = pb.SimilarityRequest(
        queries=[pb.Item(text="a cat")], candidates=[pb.Item(text=each) for each in sentences]
    )
    expected = (await shared.service.call("Similarity", request)).rows[0].scores
    assert np.array(answer.json, np.float32).tolist() == list(expected)
    assert answer.json[0] == 1.0


@SHARED
async def test_info_tells_the_model_and_its_limits(shared: Asking) -> None:
    assert (await shared.get("/info")).json == {
        "model_id": "m",
        "model_sha": SHA256[:16],
        "model_dtype": "float32",
        "model_type": {"embedding": {"pooling": "cls"}},
        "max_input_length": 20,
        "max_client_batch_size": 2048,
        "auto_truncate": True,
        "version": VERSION,
    }
    assert (await shared.get("/health")).status == 200


@SHARED
@pytest.mark.parametrize(
    ("path", "body", "start"),
    [
        ("/embed", {}, "inputs: must be a string or a list of strings, not null"),
        ("/embed", {"inputs": []}, "inputs: must not be empty"),
        ("/embed", {"inputs": 1}, "inputs: "),
        ("/embed", {"inputs": ["a", {"text": "b"}]}, "inputs[1]: must be a string"),
        ("/embed", {"inputs": [1, 2, 3]}, "inputs[0]: holds token ids"),
        ("/embed", {"inputs": [[1, 2], [3]]}, "inputs[0]: holds token ids"),
        ("/embed", {"inputs": "a", "truncate": "no"}, "truncate: "),
        ("/embed", {"inputs": "a", "normalize": 1}, "normalize: "),
        ("/embed", {"inputs": "a", "dimensions": 8}, "dimensions: "),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, "truncation_direction: must be Right"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, "prompt_name: this model has no prompts"),
        ("/embed", b"{", "The body is not valid JSON"),
        ("/", b'{"inputs": "a", "inputs": "b"}', "The name 'inputs' stands twice"),
        ("/similarity", {}, "inputs: must be an object"),
        ("/similarity", {"inputs": {"sentences": ["a"]}}, "inputs.source_sentence: "),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, "inputs.sentences: "),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, "inputs.sentences: must not"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b", 1]}}, "inputs.sentences[1]: "),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": []},
            "parameters: must be an object",
        ),
    ],
)
async def test_what_cannot_be_read_is_named(shared: Asking, path: str, body: Any, start: str) -> None:
    answer = await shared.post(path, body)
    assert shown(answer) == (422, "Validation")
    assert answer.json["error"].startswith(start)


async def test_more_than_may_be_sent_is_too_large() -> None:
    async with asking(http_max_items=3, http_max_body_bytes=10_000) as http:
        assert (await http.post("/embed", {"inputs": ["a"] * 3})).status == 200
        many = {"source_sentence": "a", "sentences": ["b"] * 2}
        assert (await http.post("/similarity", {"inputs": many})).status == 200
        many["sentences"] = ["b"] * 3
        for path, body in (
            ("/embed", {"inputs": ["a"] * 4}),
            ("/similarity", {"inputs": many}),
            ("/embed", {"inputs": "a" * 10_000}),
        ):
            assert shown(await http.post(path, body)) == (413, "Validation")


@SHARED
@pytest.mark.parametrize("path", ["/embed_sparse", "/rerank"])
async def test_routes_of_other_kinds_of_models_say_so(shared: Asking, path: str) -> None:
    answer = await shared.post(path, {"inputs": "a", "query": "a", "texts": ["b"]})
    assert shown(answer) == (424, "Backend")


async def test_faults_have_its_types() -> None:
    async with keyed(max_queue_items=1) as http:
        body = {"inputs": "a"}
        assert shown(await http.post("/embed", body)) == (401, "Unauthenticated")
        assert shown(await http.get("/embed", headers=KEY)) == (405, "MethodNotAllowed")
        answer = await http.ask("POST", "/embed", data=b"a", headers=KEY)
        assert shown(answer) == (415, "UnsupportedMediaType")
        http.service.pool.fail = lambda item: Internal()
        assert shown(await http.post("/embed", body, headers=KEY)) == (424, "Backend")
        http.service.pool.hold = asyncio.Event()
        first = asyncio.create_task(http.post("/embed", {"inputs": "b"}, headers=KEY))
        await eventually(lambda: http.service.pool.deadlines[1:])
        answer = await http.post("/embed", body, headers=KEY)
        assert shown(answer) == (429, "Overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        http.service.pool.hold.set()
        await first
        http.service.pool.ready = False
        assert shown(await http.post("/embed", body, headers=KEY)) == (503, "Unhealthy")


@SHARED
async def test_the_hubs_client_gets_features_and_similarities(shared: Asking) -> None:
    async with AsyncInferenceClient(f"http://{shared.service.http}") as client:
        rows = await client.feature_extraction("a", normalize=True, truncate=True)
        assert rows.astype("<f4").tobytes() == await grpc(shared, "a")
    async with AsyncInferenceClient(f"http://{shared.service.http}/similarity") as client:
        scores = await client.sentence_similarity("a", other_sentences=["a", "b"])
        assert (len(scores), scores[0]) == (2, 1.0)
