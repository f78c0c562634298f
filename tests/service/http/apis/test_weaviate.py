"""What Weaviate's module multi2vec-clip sends to its container, and reads of the answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.fake_pools import DIMENSION, SHA256
from tests.service.http.asking import KEY, PICTURE, Asking, keyed, post_request
from tests.service.running import pictures

SHARED = pytest.mark.asyncio(loop_scope="session")


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def vectors(http: Asking, texts: list[str], images: list[bytes]) -> list[bytes]:
    """gRPC's, texts first."""
    found = []
    if texts:
        found.append(await http.service.call("EmbedText", pb.EmbedTextRequest(texts=texts)))
    if images:
        sent = [pb.Image(content=content) for content in images]
        found.append(await http.service.call("EmbedImage", pb.EmbedImageRequest(images=sent)))
    return [each.embeddings.data for each in found]


def joined(rows: Any) -> bytes:
    return np.array(rows, "<f4").tobytes()


@SHARED
async def test_texts_and_images_come_back_apart(shared: Asking) -> None:
    images = pictures(2)
    body = {"texts": ["a", "two words", "c"], "images": list(map(coded, images))}
    answer = await shared.post("/vectorize", body)
    assert list(answer.json) == ["textVectors", "imageVectors"]
    found = [joined(answer.json["textVectors"]), joined(answer.json["imageVectors"])]
    assert found == await vectors(shared, ["a", "two words", "c"], images)


@SHARED
@pytest.mark.parametrize("other", [None, [], "absent"])
async def test_either_may_be_null_empty_or_absent(shared: Asking, other: Any) -> None:
    def body(**given: Any) -> dict[str, Any]:
        missing = {"texts", "images"} - set(given)
        return {**given, **({} if other == "absent" else dict.fromkeys(missing, other))}

    texts = (await shared.post("/vectorize", body(texts=["a"]))).json
    assert [joined(texts["textVectors"])] == await vectors(shared, ["a"], [])
    assert texts["imageVectors"] == []
    images = (await shared.post("/vectorize", body(images=[coded(PICTURE)]))).json
    assert [joined(images["imageVectors"])] == await vectors(shared, [], [PICTURE])
    assert images["textVectors"] == []


@SHARED
async def test_a_body_is_read_without_a_type_as_its_client_sends_it(shared: Asking) -> None:
    body = json.dumps({"texts": ["a"], "images": None}).encode()
    sent = post_request(body, "connection: close", path="/vectorize")
    answer = await shared.raw(sent.replace(b"content-type: application/json\r\n", b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"textVectors":[[' in answer
    for other in (b"content-type: text/plain", b"origin: https://example.com"):
        answer = await shared.raw(sent.replace(b"content-type: application/json", other))
        assert answer.startswith(b"HTTP/1.1 415 ")


@SHARED
@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({}, "texts: must not be empty"),
        ({"texts": [], "images": []}, "texts: must not be empty"),
        ({"texts": "a"}, "texts: must be a list"),
        ({"texts": ["a", None]}, "texts[1]: must be a string"),
        ({"images": [1]}, "images[0]: must be a string"),
        ({"images": [coded(PICTURE), coded(b"no picture")]}, "images[1]: "),
        ({"texts": ["a"], "images": ["!"]}, "images[0]: is not valid base64"),
        ({"texts": ["a"] * 2049}, "texts: holds 2049 elements"),
    ],
)
async def test_what_cannot_be_used_is_named(shared: Asking, body: Any, start: str) -> None:
    answer = await shared.post("/vectorize", body)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert answer.json["error"].startswith(start)


@SHARED
async def test_meta_is_an_object_that_names_the_weights(shared: Asking) -> None:
    meta = (await shared.get("/meta")).json
    assert (meta["model"], meta["revision"], meta["dimension"]) == ("m", SHA256[:16], DIMENSION)


async def test_it_is_ready_when_the_model_is_and_until_it_drains(http: Asking) -> None:
    async def status(name: str) -> int:
        answer = await http.get(f"/.well-known/{name}")
        assert answer.body == b""
        return answer.status

    assert (await status("ready"), await status("live")) == (204, 204)
    http.service.pool.ready = False
    assert (await status("ready"), await status("live")) == (503, 204)


async def test_with_keys_its_client_is_refused_in_its_own_shape() -> None:
    async with keyed() as http:
        answer = await http.post("/vectorize", {"texts": ["a"]})
        assert (answer.status, list(answer.json)) == (401, ["error"])
        assert (await http.get("/meta")).status == 401
        assert (await http.get("/.well-known/ready")).status == 204
        assert (await http.post("/vectorize", {"texts": ["a"]}, headers=KEY)).status == 200
        assert list((await http.get("/vectorize", headers=KEY)).json) == ["error"]
