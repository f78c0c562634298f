"""Every bad request has the error of the public contract, with the path of the field."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
import pytest
from google.protobuf.message import Message

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from tests.service.fake_pools import DIMENSION
from tests.service.running import Running, pictures, running

LIMITS: dict[str, Any] = {
    "max_texts": 4,
    "max_images": 3,
    "max_items": 4,
    "max_labels": 4,
    "max_templates": 3,
    "max_prompts": 2,
    "max_text_bytes": 100,
    "max_image_bytes": 20_000,
}
(PICTURE,) = pictures(1)
GOOD = pb.Image(content=PICTURE)
BROKEN = pb.Item(image=pb.Image(content=b"x"))
REJECT = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running(**LIMITS) as made:
        yield made


def text(*texts: str, **rest: Any) -> pb.EmbedTextRequest:
    return pb.EmbedTextRequest(texts=texts, **rest)


def image(*images: pb.Image, **rest: Any) -> pb.EmbedImageRequest:
    return pb.EmbedImageRequest(images=images, **rest)


def pair(query: pb.Item, candidate: pb.Item | None = None, **rest: Any) -> pb.SimilarityRequest:
    return pb.SimilarityRequest(queries=[query], candidates=[candidate or pb.Item(text="a")], **rest)


def classify(**rest: Any) -> pb.ClassifyImageRequest:
    return pb.ClassifyImageRequest(**{"images": [GOOD], "labels": ["cat"], **rest})


def uri(value: str) -> pb.EmbedImageRequest:
    return image(GOOD, pb.Image(uri=value))


def vector(*values: float) -> pb.Item:
    return pb.Item(vector=np.array(values, "<f4").tobytes())


def prompt(*texts: str, **rest: Any) -> pb.EncodePromptRequest:
    return pb.EncodePromptRequest(texts=texts, **rest)


INVALID: list[tuple[str, Message, str]] = [
    ("EmbedText", text(), "texts"),
    ("EmbedText", text(*"abcde"), "texts"),
    ("EmbedText", text("a", options=pb.EmbeddingOptions(encoding=9)), "options.encoding"),  # type: ignore[arg-type]
    ("EmbedText", text("a", options=pb.EmbeddingOptions(truncation=9)), "options.truncation"),  # type: ignore[arg-type]
    ("EmbedText", text("a", priority=-1), "priority"),
    ("EmbedImage", image(), "images"),
    ("EmbedImage", image(GOOD, GOOD, GOOD, GOOD), "images"),
    ("EmbedImage", image(GOOD, pb.Image()), "images[1]"),
    ("EmbedImage", uri("data:image/png;base64"), "images[1].uri"),
    ("EmbedImage", uri("data:image/png;base64,%%%%"), "images[1].uri"),
    ("EmbedImage", uri("data:image/png;base64,QUJDQ"), "images[1].uri"),
    ("EmbedImage", uri("data:image/png;base64,Ä"), "images[1].uri"),
    ("Similarity", pb.SimilarityRequest(candidates=[pb.Item(text="a")]), "queries"),
    ("Similarity", pb.SimilarityRequest(queries=[pb.Item(text="a")]), "candidates"),
    ("Similarity", pair(pb.Item(), pb.Item(text="a")), "queries[0]"),
    ("Similarity", pair(pb.Item(image=pb.Image())), "queries[0].image"),
    ("Similarity", pair(pb.Item(text="a"), vector(1.0, 2.0)), "candidates[0].vector"),
    ("Similarity", pair(pb.Item(vector=b"")), "queries[0].vector"),
    ("Similarity", pair(pb.Item(vector=b"\0" * 63)), "queries[0].vector"),
    ("Similarity", pair(vector(*[0.0] * DIMENSION)), "queries[0].vector"),
    ("Similarity", pair(vector(*[1.0] * 15, float("nan"))), "queries[0].vector"),
    ("Similarity", pair(vector(*[1.0] * 15, float("-inf"))), "queries[0].vector"),
    ("Similarity", pair(pb.Item(text="a"), score=77), "score"),
    ("ClassifyImage", classify(images=[]), "images"),
    ("ClassifyImage", classify(labels=[]), "labels"),
    ("ClassifyImage", classify(labels=list("abcde")), "labels"),
    ("ClassifyImage", classify(language="xx"), "language"),
    ("ClassifyImage", classify(language="EN"), "language"),
    ("ClassifyImage", classify(templates=["no place"]), "templates[0]"),
    ("ClassifyImage", classify(templates=["{}", "{} and {}"]), "templates[1]"),
    ("ClassifyImage", classify(templates=["{}", "{x}"]), "templates[1]"),
    ("ClassifyImage", classify(templates=["{}"] * 4), "templates"),
    ("EncodePrompt", pb.EncodePromptRequest(), "texts"),
    ("EncodePrompt", prompt("a", "b", "c"), "texts"),
    ("EncodePrompt", prompt("a", encoding=pb.ENCODING_INT8), "encoding"),
    ("EncodePrompt", prompt("a", encoding=pb.ENCODING_BINARY), "encoding"),
    ("EncodePrompt", prompt("a", states=5), "states"),
]
OTHERS: list[tuple[str, Message, str, str]] = [
    ("EmbedText", text("a", "b" * 101), "TEXT_TOO_LONG", "texts[1]"),
    ("EmbedText", text("猫" * 34), "TEXT_TOO_LONG", "texts[0]"),
    ("EmbedText", text("a", "b" * 5_000_000), "TEXT_TOO_LONG", "texts[1]"),
    ("EmbedText", text("w " * 30, options=REJECT), "TEXT_TOO_LONG", "texts[0]"),
    ("EncodePrompt", prompt("w " * 30, truncation=pb.TRUNCATION_REJECT), "TEXT_TOO_LONG", "texts[0]"),
    ("Similarity", pair(pb.Item(text="b" * 101)), "TEXT_TOO_LONG", "queries[0].text"),
    ("ClassifyImage", classify(labels=["a", "b" * 101]), "TEXT_TOO_LONG", "labels[1]"),
    ("ClassifyImage", classify(templates=["b" * 101 + "{}"]), "TEXT_TOO_LONG", "templates[0]"),
    ("ClassifyImage", classify(labels=["b" * 60], templates=["c" * 60 + "{}"]), "TEXT_TOO_LONG", "labels[0]"),
    ("EmbedImage", image(GOOD, pb.Image(content=b"")), "UNDECODABLE_IMAGE", "images[1].content"),
    ("EmbedImage", image(GOOD, pb.Image(content=b"no picture")), "UNDECODABLE_IMAGE", "images[1].content"),
    ("EmbedImage", image(GOOD, pb.Image(content=PICTURE[:-200])), "UNDECODABLE_IMAGE", "images[1].content"),
    ("EmbedImage", image(pb.Image(content=b"<svg xmlns='x'/>")), "UNSUPPORTED_IMAGE", "images[0].content"),
    ("EmbedImage", image(pb.Image(content=b"%!PS-Adobe-3.0 EPSF")), "UNSUPPORTED_IMAGE", "images[0].content"),
    ("EmbedImage", image(pb.Image(content=b"\0" * 20_001)), "IMAGE_TOO_LARGE", "images[0].content"),
    ("EmbedImage", uri("data:image/png;base64," + "AAAA" * 6667), "IMAGE_TOO_LARGE", "images[1].uri"),
    ("EmbedImage", uri("data:image/png;base64,QUJD"), "UNDECODABLE_IMAGE", "images[1].uri"),
    # Without its padding, and wrapped: base64 as browsers read it, of what is no image.
    ("EmbedImage", uri("data:image/png;base64,QUI"), "UNDECODABLE_IMAGE", "images[1].uri"),
    ("EmbedImage", uri("data:image/png;base64,QUJD\nQUJD"), "UNDECODABLE_IMAGE", "images[1].uri"),
    ("EmbedImage", uri("data:image/png,abc"), "UNDECODABLE_IMAGE", "images[1].uri"),
    ("EmbedImage", uri("data:image/png," + "a" * 20_001), "IMAGE_TOO_LARGE", "images[1].uri"),
    ("EmbedImage", uri("http://example.com/cat.png"), "URI_NOT_ALLOWED", "images[1].uri"),
    ("EmbedImage", uri("https://169.254.169.254/latest"), "URI_NOT_ALLOWED", "images[1].uri"),
    ("EmbedImage", uri("file:///etc/passwd"), "URI_NOT_ALLOWED", "images[1].uri"),
    ("EmbedImage", uri("http://[::1"), "URI_NOT_ALLOWED", "images[1].uri"),
    ("EmbedImage", uri(""), "URI_NOT_ALLOWED", "images[1].uri"),
    ("Similarity", pair(pb.Item(text="a"), BROKEN), "UNDECODABLE_IMAGE", "candidates[0].image.content"),
    ("ClassifyImage", classify(images=[GOOD, pb.Image(uri="ftp://x/y")]), "URI_NOT_ALLOWED", "images[1].uri"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "request_", "path"), INVALID, ids=lambda value: str(value)[:40])
async def test_an_invalid_field_is_named(service: Running, method: str, request_: Message, path: str) -> None:
    refused = await service.refusal(method, request_)
    assert (refused.code, refused.reason, refused.paths) == ("INVALID_ARGUMENT", "INVALID_REQUEST", [path])


@pytest.mark.parametrize(("method", "request_", "reason", "path"), OTHERS, ids=lambda value: str(value)[:40])
async def test_a_bad_element_has_its_own_reason(
    service: Running, method: str, request_: Message, reason: str, path: str
) -> None:
    refused = await service.refusal(method, request_)
    assert (refused.code, refused.reason, refused.paths) == ("INVALID_ARGUMENT", reason, [path])


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("EmbedText", text("a", model="none")),
        ("EmbedImage", image(GOOD, model="none")),
        ("Similarity", pair(pb.Item(text="a"), model="none")),
        ("ClassifyImage", classify(model="none")),
        ("EncodePrompt", prompt("a", model="none")),
        ("GetModel", models_pb.GetModelRequest(name="none")),
    ],
)
async def test_an_unknown_model_is_not_found(service: Running, method: str, request_: Message) -> None:
    refused = await service.refusal(method, request_)
    assert (refused.code, refused.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        (b"\x12\x02\xff\xfe", ["texts[0]"]),
        (b"\x12\x01a\x12\x02\xc3\x28", ["texts[1]"]),
        (b"\x12\xff\xff\xff\x0f", ["texts[0]"]),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", []),
        (b"\x07", []),
    ],
)
async def test_unreadable_bytes_are_an_invalid_argument(
    service: Running, raw: bytes, paths: list[str]
) -> None:
    refused = await service.refusal("EmbedText", raw)
    assert (refused.code, refused.reason, refused.paths) == ("INVALID_ARGUMENT", "INVALID_REQUEST", paths)


async def test_the_first_bad_picture_is_the_one_that_is_named(service: Running) -> None:
    bad = pb.Image(content=b"bad")
    for _ in range(5):
        refused = await service.refusal("EmbedImage", image(GOOD, bad, pb.Image(uri="ftp://x")))
        assert refused.paths == ["images[1].content"]


async def test_the_host_of_a_refused_address_is_told_but_no_bare_ip(service: Running) -> None:
    assert (await service.refusal("EmbedImage", uri("https://Example.com:8/a?b"))).info.metadata == {
        "host": "example.com"
    }
    for address in ("http://10.0.0.1/x", "http://[::1]/x", "http:///x"):
        assert not (await service.refusal("EmbedImage", uri(address))).info.metadata


async def test_a_message_over_the_limit_is_a_bare_resource_exhausted() -> None:
    async with running(max_message_bytes=1 << 20) as service:
        refused = await service.refusal("EmbedText", b"\0" * ((1 << 20) + 1))
        assert (refused.code, refused.trailers) == ("RESOURCE_EXHAUSTED", {})
        await service.call("EmbedText", text("still there"))


async def test_neighbours_of_bad_requests_get_right_answers(service: Running) -> None:
    alone = await service.call("EmbedText", text("cat", "dog"))

    async def good() -> None:
        answer = await service.call("EmbedText", text("cat", "dog"))
        assert answer.embeddings.data == alone.embeddings.data

    async def bad(method: str, request: Message) -> None:
        await service.refusal(method, request)

    bad_ones = [bad(method, request) for method, request, _ in INVALID]
    bad_ones += [bad(method, request) for method, request, _, _ in OTHERS]
    await asyncio.gather(*bad_ones, *(good() for _ in range(20)))
    assert service.requests("EmbedText", "INTERNAL") == 0


@pytest.mark.parametrize("content", ["", " ", "\0", "\u200b", "🐈‍⬛", "{}", "<s>", "a" * 100])
async def test_odd_texts_are_texts(service: Running, content: str) -> None:
    assert (await service.call("EmbedText", text(content))).embeddings.count == 1
    await service.call("ClassifyImage", classify(labels=[content[:50], "x"], templates=["{}", "<{}>"]))


async def test_pictures_may_come_as_data_uris(service: Running) -> None:
    coded = base64.b64encode(PICTURE).decode()
    for head in ("data:image/png;base64,", "DATA:;BASE64,", "data:image/png;name=x;base64,"):
        answer = await service.call("EmbedImage", image(GOOD, pb.Image(uri=head + coded)))
        first, second = np.frombuffer(answer.embeddings.data, "<f4").reshape(2, -1)
        np.testing.assert_array_equal(first, second)


async def test_a_data_uri_may_be_percent_encoded(service: Running) -> None:
    plain = "data:image/png," + quote_from_bytes(PICTURE)
    answer = await service.call("EmbedImage", image(GOOD, pb.Image(uri=plain)))
    first, second = np.frombuffer(answer.embeddings.data, "<f4").reshape(2, -1)
    np.testing.assert_array_equal(first, second)
