"""Similarity and classification over HTTP: what gRPC answers, as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.fake_pools import DIMENSION
from tests.service.http.asking import PICTURE, Asking, asking, data_uri

URI = data_uri(PICTURE)
VECTOR = [float(number) for number in range(1, DIMENSION + 1)]
ENUMS = {"cosine": pb.SCORE_COSINE, "logit": pb.SCORE_LOGIT, "probability": pb.SCORE_PROBABILITY}


@pytest.mark.parametrize("score", [None, *ENUMS])
@pytest.mark.parametrize("top_k", [0, 2, 10])
async def test_scores_are_those_of_grpc_to_the_last_bit(http: Asking, score: str | None, top_k: int) -> None:
    body = {
        "queries": ["a cat", {"image": URI}, {"vector": VECTOR}],
        "candidates": [{"text": "a cat"}, "a dog", {"vector": VECTOR}, URI],
        "score": score,
        "top_k": top_k,
    }
    answer = await http.post("/v1/similarity", body)
    vector = np.array(VECTOR, "<f4").tobytes()
    image = pb.Item(image=pb.Image(content=PICTURE))
    expected = await http.service.call(
        "Similarity",
        pb.SimilarityRequest(
            queries=[pb.Item(text="a cat"), image, pb.Item(vector=vector)],
            candidates=[pb.Item(text="a cat"), pb.Item(text="a dog"), pb.Item(vector=vector), image],
            score=ENUMS[score or "cosine"],
            top_k=top_k,
        ),
    )
    found = answer.json
    for row, wanted in zip(found["rows"], expected.rows, strict=True):
        assert np.array(row["scores"], np.float32).tolist() == list(wanted.scores)
        assert row["indices"] == (list(wanted.indices) or [0, 1, 2, 3])
    assert np.float32(found["logit_scale"]) == np.float32(expected.logit_scale)
    assert (found["model"], found["revision"]) == ("m", expected.revision)
    assert found["timings"] == {"queue_duration": 0.25, "inference_duration": 1.5, "batch_size": 2}


async def test_an_item_of_several_parts_is_compared_as_one_vector(http: Asking) -> None:
    both = {"content": ["a cat", {"image": URI, "weight": 0.5}]}
    embedded = (await http.embed(input=[both])).json["data"][0]["embedding"]
    body = {"queries": [both], "candidates": [{"vector": embedded}, "a cat"]}
    scores = (await http.post("/v1/similarity", body)).json["rows"][0]["scores"]
    assert scores[0] == pytest.approx(1.0, abs=1e-6)
    assert scores[1] < 0.9999


async def test_truncated_counts_through_the_queries_and_then_the_candidates(http: Asking) -> None:
    body = {"queries": ["a", "word " * 30], "candidates": ["b", "c", "word " * 30]}
    assert (await http.post("/v1/similarity", body)).json["truncated"] == [1, 4]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"queries": None}, "queries"),
        ({"queries": []}, "queries"),
        ({"candidates": "a"}, "candidates"),
        ({"candidates": ["a", None]}, "candidates[1]"),
        ({"queries": [{"vector": [1.0]}]}, "queries[0].vector"),
        ({"queries": [{"vector": "AAAA"}]}, "queries[0].vector"),
        ({"queries": [{"vector": [*VECTOR[:-1], True]}]}, f"queries[0].vector[{DIMENSION - 1}]"),
        ({"queries": [{"vector": [*VECTOR[:-1], "1"]}]}, f"queries[0].vector[{DIMENSION - 1}]"),
        ({"queries": [{"vector": [0] * DIMENSION}]}, "queries[0].vector"),
        ({"queries": [{"vector": [1e39] * DIMENSION}]}, "queries[0].vector"),
        ({"candidates": ["a", {"image": "AAAA"}]}, "candidates[1].image"),
        ({"candidates": ["a", {"image_url": {"url": "http://x/y"}}]}, "candidates[1].image_url.url"),
        ({"score": "euclid"}, "score"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"priority": "soon"}, "priority"),
    ],
)
async def test_what_cannot_be_compared_is_named(http: Asking, changed: Any, param: str) -> None:
    answer = await http.post("/v1/similarity", {"queries": ["a"], "candidates": ["b"], **changed})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_both_sides_have_the_limit_of_grpc() -> None:
    async with asking(max_items=100, http_max_items=150) as http:
        for queries, candidates, status in ((100, 100, 400), (101, 1, 400), (1, 101, 400), (50, 100, 200)):
            body = {"queries": ["a"] * queries, "candidates": ["b"] * candidates}
            assert (await http.post("/v1/similarity", body)).status == status
        vectors = [{"vector": VECTOR}] * 100  # read in a thread
        answer = await http.post("/v1/similarity", {"queries": vectors, "candidates": vectors})
        assert np.allclose([row["scores"] for row in answer.json["rows"]], 1.0)


@pytest.mark.parametrize("top_k", [0, 1])
async def test_a_classification_is_that_of_grpc(http: Asking, top_k: int) -> None:
    labels = ["cat", "dog", "tree"]
    body = {"images": [URI, {"image": URI}], "labels": labels, "language": "de", "top_k": top_k}
    assert (await http.post("/v1/classify", body)).error["param"] == "language"
    found = (await http.post("/v1/classify", {**body, "language": "es"})).json
    image = pb.Image(content=PICTURE)
    request = pb.ClassifyImageRequest(images=[image, image], labels=labels, language="es", top_k=top_k)
    expected = await http.service.call("ClassifyImage", request)
    for result, wanted in zip(found["results"], expected.results, strict=True):
        assert [each["label"] for each in result["labels"]] == [each.label for each in wanted.labels]
        assert [each["index"] for each in result["labels"]] == [each.index for each in wanted.labels]
        probabilities = np.array([each["probability"] for each in result["labels"]], np.float32)
        assert probabilities.tolist() == [each.probability for each in wanted.labels]


async def test_own_templates_replace_those_of_the_language(http: Asking) -> None:
    body = {"images": [URI], "labels": ["cat", "dog"], "templates": ["a {} here"]}
    answer = await http.post("/v1/classify", body)
    request = pb.ClassifyImageRequest(
        images=[pb.Image(content=PICTURE)], labels=["cat", "dog"], templates=["a {} here"]
    )
    expected = (await http.service.call("ClassifyImage", request)).results[0].labels
    found = answer.json["results"][0]["labels"]
    assert [np.float32(each["probability"]) for each in found] == [each.probability for each in expected]


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"images": []}, "images"),
        ({"images": None}, "images"),
        ({"images": [URI, {"text": "a"}]}, "images[1]"),
        ({"images": [URI, {"image": URI, "text": "a"}]}, "images[1]"),
        ({"images": [URI, {"url": "AAAA"}]}, "images[1].url"),
        ({"images": [URI, 3]}, "images[1]"),
        ({"images": [3] * 65}, "images"),
        ({"images": [{"content": [3] * 65}]}, "images"),
        ({"labels": [1] * 1001}, "labels"),
        ({"templates": [1] * 101}, "templates"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", 1]}, "labels[1]"),
        ({"labels": "cat"}, "labels"),
        ({"templates": ["no place"]}, "templates[0]"),
        ({"top_k": "1"}, "top_k"),
    ],
)
async def test_what_cannot_be_classified_is_named(http: Asking, changed: Any, param: str) -> None:
    answer = await http.post("/v1/classify", {"images": [URI], "labels": ["a", "b"], **changed})
    assert (answer.status, answer.error["param"]) == (400, param)
