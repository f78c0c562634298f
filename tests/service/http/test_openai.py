"""OpenAI's embeddings and models: what is answered, in which numbers, and what is refused."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal, WorkerUnavailable
from tests.service.fake_pools import DIMENSION, SHA256
from tests.service.http.asking import PICTURE, Answer, Asking, asking, data_uri
from tests.service.running import pictures
from worker.runtime.notices import Priority

ORIENTATION = 0x0112
LONG = "word " * 30
URI = data_uri(PICTURE)


def rows(answer: Answer) -> Any:
    """The embeddings as numbers, float32 or what JSON held."""
    assert answer.status == 200, answer.body[:500]
    return np.array([each["embedding"] for each in answer.json["data"]])


def float32(answer: Answer) -> bytes:
    """The embeddings' bytes, from numbers or base64."""
    assert answer.status == 200, answer.body[:500]
    found = [each["embedding"] for each in answer.json["data"]]
    return b"".join(
        base64.b64decode(each) if isinstance(each, str) else np.array(each, "<f4").tobytes() for each in found
    )


async def grpc_texts(http: Asking, texts: list[str], **options: Any) -> Any:
    request = pb.EmbedTextRequest(texts=texts, options=pb.EmbeddingOptions(**options))
    return (await http.service.call("EmbedText", request)).embeddings


async def test_texts_are_answered_in_order_with_their_usage(http: Asking) -> None:
    answer = (await http.embed(model="m", input=["a", "two words", "", LONG])).json
    assert answer["object"] == "list"
    assert [each["index"] for each in answer["data"]] == [0, 1, 2, 3]
    assert {each["object"] for each in answer["data"]} == {"embedding"}
    assert answer["usage"] == {"prompt_tokens": 3 + 4 + 2 + 20, "total_tokens": 29, "image_count": 0}
    assert (answer["model"], answer["revision"], answer["truncated"]) == ("m", SHA256[:16], [3])


@pytest.mark.parametrize("encoding_format", [None, "float", "base64"])
@pytest.mark.parametrize("count", [1, 3])
async def test_float32_is_that_of_grpc_to_the_last_bit(
    http: Asking, count: int, encoding_format: str | None
) -> None:
    texts = ["a", "two words", "日本語"][:count]
    answer = await http.embed(input=texts, encoding_format=encoding_format)
    assert float32(answer) == (await grpc_texts(http, texts)).data
    raw = await http.embed(input=texts, encoding_format=encoding_format, normalize=False)
    assert float32(raw) == (await grpc_texts(http, texts, normalize=False)).data


@pytest.mark.parametrize(
    ("name", "encoding", "kind"),
    [
        ("float16", pb.ENCODING_FLOAT16, "<f2"),
        ("int8", pb.ENCODING_INT8, np.int8),
        ("binary", pb.ENCODING_BINARY, np.uint8),
    ],
)
async def test_other_types_are_those_of_grpc_too(http: Asking, name: str, encoding: Any, kind: Any) -> None:
    texts = ["a", "two words"]
    expected = await grpc_texts(http, texts, encoding=encoding)
    numbers = await http.embed(input=texts, embed_dtype=name)
    assert rows(numbers).astype(kind).tobytes() == expected.data
    coded = await http.embed(input=texts, embedding_type=name, encoding_format="base64")
    assert b"".join(base64.b64decode(each["embedding"]) for each in coded.json["data"]) == expected.data
    scales = [each.get("scale") for each in numbers.json["data"]]
    if name == "int8":
        assert np.array(scales, np.float32).tolist() == list(expected.scales)
    else:
        assert scales == [None, None]


async def test_pictures_and_texts_are_answered_in_the_order_in_which_they_came(http: Asking) -> None:
    files = pictures(2)
    mixed = await http.embed(input=["a", {"image": data_uri(files[0])}, "b", data_uri(files[1])])
    texts = await grpc_texts(http, ["a", "b"])
    images = await http.service.call(
        "EmbedImage", pb.EmbedImageRequest(images=[pb.Image(content=file) for file in files])
    )
    size = DIMENSION * 4
    text, image = texts.data, images.embeddings.data
    assert float32(mixed) == text[:size] + image[:size] + text[size:] + image[size:]
    assert mixed.json["usage"] == {"prompt_tokens": 6, "total_tokens": 6, "image_count": 2}


async def test_several_parts_become_the_weighted_sum_of_their_unit_vectors(http: Asking) -> None:
    one, two = rows(await http.embed(input=["a", URI]))
    content = [{"text": "a", "weight": 2}, {"image": URI, "weight": -0.5}]
    found = rows(await http.embed(input=[{"content": content}, "a", {"text": "a", "image": URI}]))
    for row, expected in zip(found, [2 * one - 0.5 * two, one, one + two], strict=True):
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


async def test_a_part_alone_with_a_weight_below_zero_is_the_opposite_vector(http: Asking) -> None:
    (one,) = rows(await http.embed(input="a"))
    turned = {"text": "a", "weight": -2}
    for items in ([turned], [turned, "a"]):
        found = rows(await http.embed(input=items))
        np.testing.assert_allclose(found, [-one, one][: len(items)], atol=1e-6)
    body = {"queries": [turned], "candidates": ["a"]}
    scores = (await http.post("/v1/similarity", body)).json["rows"][0]["scores"]
    assert scores == [pytest.approx(-1.0, abs=1e-6)]


async def test_parts_of_any_finite_weight_are_summed(http: Asking) -> None:
    (one,) = rows(await http.embed(input="a"))
    for weight in (1e308, 1e-300):
        content = [{"text": "a", "weight": weight}, {"text": "a", "weight": weight}]
        np.testing.assert_allclose(rows(await http.embed(input={"content": content}))[0], one, atol=1e-6)


@pytest.mark.parametrize("weights", [(1, -1), (0, 0), (0,)])
async def test_a_sum_of_zero_is_refused_at_its_item(http: Asking, weights: tuple[float, ...]) -> None:
    content = [{"text": "a", "weight": weight} for weight in weights]
    error = await http.refused(input=["b", {"content": content}])
    assert (error["param"], error["code"]) == ("input[1]", "invalid_request")


async def test_messages_are_items(http: Asking) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    assert float32(await http.embed(messages=messages)) == float32(await http.embed(input="a"))
    assert len(rows(await http.embed(messages=[messages, messages]))) == 2
    assert (await http.refused(input="a", messages=messages))["param"] == "messages"


async def test_a_bad_item_fails_the_request_at_its_path(http: Asking) -> None:
    error = await http.refused(input=["a", {"image_url": {"url": "data:image/png;base64,AAAA"}}])
    assert error == {
        "message": "input[1].image_url.url: not an image of a known format",
        "type": "invalid_request_error",
        "param": "input[1].image_url.url",
        "code": "undecodable_image",
    }


async def test_with_per_item_a_bad_item_fails_alone(http: Asking) -> None:
    bad = [
        {"image": "AAAA"},
        {"image": "https://example.com/a.png"},
        {"content": ["a", {"image": "AAAA"}]},
        {"content": [{"text": "a"}, {"text": "a", "weight": -1}]},
        {"image": "!"},
        LONG,
    ]
    answer = await http.embed(input=["a", *bad, "b"], error_policy="per_item", truncation="reject")
    data = answer.json["data"]
    assert [each["object"] for each in data] == ["embedding", *["error"] * len(bad), "embedding"]
    assert [each["index"] for each in data] == list(range(len(bad) + 2))
    assert [(each["error"]["param"], each["error"]["code"]) for each in data[1:-1]] == [
        ("input[1].image", "undecodable_image"),
        ("input[2].image", "uri_not_allowed"),
        ("input[3].content[1].image", "undecodable_image"),
        ("input[4]", "invalid_request"),
        ("input[5].image", "invalid_request"),
        ("input[6]", "text_too_long"),
    ]
    assert all(each["embedding"] == [] for each in data[1:-1])
    good = [np.array(each["embedding"], "<f4").tobytes() for each in (data[0], data[-1])]
    assert b"".join(good) == float32(await http.embed(input=["a", "b"]))
    metrics = http.service.metrics
    assert metrics.accepted.value("m", "text") == sum(
        metrics.items.value("m", "text", outcome) for outcome in ("ok", "failed", "cancelled")
    )


async def test_a_fault_that_is_no_items_own_fails_the_whole_request(http: Asking) -> None:
    http.service.pool.fail = lambda item: WorkerUnavailable()
    answer = await http.embed(input=["a", "b"], error_policy="per_item")
    assert (answer.status, answer.error["code"]) == (503, "worker_unavailable")
    http.service.pool.fail = lambda item: Internal() if len(item.payload) == 4 else None
    answer = await http.embed(input=["a", "two words"], error_policy="per_item")
    assert [each["object"] for each in answer.json["data"]] == ["embedding", "error"]
    assert answer.json["data"][1]["error"]["code"] == "internal"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": "a", "model": 1}, "model"),
        ({"input": "a", "dimensions": 8}, "dimensions"),
        ({"input": "a", "dimensions": "16"}, "dimensions"),
        ({"input": "a", "dimensions": 16.5}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "embed_dtype": "int4"}, "embed_dtype"),
        ({"input": "a", "embed_dtype": "int8", "embedding_type": "binary"}, "embedding_type"),
        ({"input": "a", "normalize": 1}, "normalize"),
        ({"input": "a", "normalized": "yes"}, "normalized"),
        ({"input": "a", "priority": "urgent"}, "priority"),
        ({"input": "a", "priority": 1.5}, "priority"),
        ({"input": "a", "truncation": "END"}, "truncation"),
        ({"input": "a", "truncate_prompt_tokens": 10}, "truncate_prompt_tokens"),
        ({"input": "a", "error_policy": "skip"}, "error_policy"),
        ({"input": "a", "modality": "audio"}, "modality"),
        ({"input": "a", "orientation": "left"}, "orientation"),
        ({"input": "a", "timeout": 0}, "timeout"),
        ({"input": "a", "timeout": "1"}, "timeout"),
        ({"input": LONG, "truncation": "reject"}, "input"),
        ({"input": [LONG], "truncation": False}, "input[0]"),
        ({"input": [1, 2, 3]}, "input"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(http: Asking, fields: Any, param: str) -> None:
    error = await http.refused(**fields)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert error["type"] == "invalid_request_error"


async def test_a_wrong_width_is_told_with_both_numbers(http: Asking) -> None:
    message = (await http.refused(input="a", dimensions=512))["message"]
    assert "512" in message
    assert str(DIMENSION) in message


@pytest.mark.parametrize(
    "fields",
    [
        {"dimensions": DIMENSION},
        {"user": "me", "input_type": "query", "task": "retrieval", "something": {"else": [1]}},
        dict.fromkeys(
            ("model", "dimensions", "encoding_format", "embed_dtype", "normalize", "priority", "timeout")
        ),
        {"truncate_prompt_tokens": -1},
        {"truncate_prompt_tokens": 20},
        {"truncation": True},
        {"truncation": "truncate"},
        {"orientation": "as_stored"},
        {"model": "m", "error_policy": "fail", "modality": "text"},
    ],
)
async def test_what_changes_nothing_is_accepted(http: Asking, fields: Any) -> None:
    assert float32(await http.embed(input="a", **fields)) == (await grpc_texts(http, ["a"])).data


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Priority.INTERACTIVE),
        ("interactive", Priority.INTERACTIVE),
        (0, Priority.INTERACTIVE),
        (-3, Priority.INTERACTIVE),
        ("bulk", Priority.BULK),
        (1, Priority.BULK),
    ],
)
async def test_priority_reaches_the_queue(http: Asking, given: Any, expected: Priority) -> None:
    await http.embed(input="a", priority=given)
    assert http.service.pool.priorities == [expected]


async def test_more_texts_than_a_grpc_call_may_hold_are_computed_in_chunks() -> None:
    async with asking(max_texts=4, http_max_items=10) as http:
        texts = [f"text {index}" for index in range(10)]
        expected = b"".join([(await grpc_texts(http, [text])).data for text in texts])
        assert float32(await http.embed(input=texts)) == expected
        error = await http.refused(input=[*texts, "one more"])
        assert error["message"] == "input: holds 11 elements; at most 10 are accepted"
        error = await http.refused(input=[{"content": ["a"] * 11}])
        assert error["param"] == "input"


async def test_more_images_than_a_call_may_hold_are_refused() -> None:
    async with asking(max_images=2) as http:
        assert (await http.embed(input=[URI, URI])).status == 200
        assert "holds 3 images; at most 2" in (await http.refused(input=[URI] * 3))["message"]


async def test_images_are_turned_upright_where_that_is_asked_for(http: Asking) -> None:
    file = io.BytesIO()
    image = Image.open(io.BytesIO(PICTURE))
    exif = image.getexif()
    exif[ORIENTATION] = 6  # to be turned by a quarter
    image.save(file, "PNG", exif=exif)
    turned = data_uri(file.getvalue())
    found = float32(await http.embed(input=[turned], orientation="upright"))
    assert found != float32(await http.embed(input=[turned]))
    expected = await http.service.call(
        "EmbedImage",
        pb.EmbedImageRequest(
            images=[pb.Image(content=file.getvalue())],
            options=pb.EmbeddingOptions(orientation=pb.ORIENTATION_UPRIGHT),
        ),
    )
    assert found == expected.embeddings.data
    body = {"queries": [turned], "candidates": [turned], "orientation": "upright"}
    assert (await http.post("/v1/similarity", body)).json["rows"][0]["scores"][0] == pytest.approx(1.0)
    body = {"images": [turned], "labels": ["a", "b"]}
    answers = [
        (await http.post("/v1/classify", {**body, "orientation": way})).json for way in (None, "upright")
    ]
    assert answers[0]["results"] != answers[1]["results"]


async def test_the_short_path_is_the_same(http: Asking) -> None:
    assert float32(await http.post("/embeddings", {"input": "a"})) == float32(await http.embed(input="a"))


async def test_without_openai_its_routes_are_unknown() -> None:
    async with asking(http_apis=("cohere",)) as http:
        assert (await http.embed(input="a")).status == 404
        assert (await http.get("/healthz")).status == 200
