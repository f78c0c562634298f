"""Voyage's own client, and the bodies that it sends: the same embeddings, its usage, its errors."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal
from tests.overlays import imported
from tests.service.fake_pools import DIMENSION
from tests.service.http.asking import PICTURE, SECRET, Answer, Asking, asking, data_uri, keyed
from tests.service.running import eventually

SHARED = pytest.mark.asyncio(loop_scope="session")
LONG = "word " * 30
URI = data_uri(PICTURE)
TEXT = {"content": [{"type": "text", "text": "a"}]}
IMAGE = {"content": [{"type": "image_base64", "image_base64": URI}]}


def client(http: Asking, key: str = "any", *, synchronous: bool = False, retries: int = 1) -> Any:
    voyageai = imported("sdks", "voyageai")
    made = voyageai.Client if synchronous else voyageai.AsyncClient
    return made(api_key=key, base_url=f"http://{http.service.http}/v1", max_retries=retries)


async def embed(http: Asking, *inputs: Any, **body: Any) -> Answer:
    return await http.post("/v1/multimodalembeddings", {"model": "m", "inputs": inputs, **body})


async def expected(http: Asking, *inputs: Any) -> Any:
    answer = await http.embed(input=inputs)
    return np.array([each["embedding"] for each in answer.json["data"]], np.float32)


@SHARED
@pytest.mark.parametrize("synchronous", [False, True])
async def test_its_client_gets_texts_images_and_both_as_one(shared: Asking, synchronous: bool) -> None:
    picture = Image.open(io.BytesIO(PICTURE))
    inputs = [["a"], [picture], ["a", picture], ["a", "two words"]]
    asked = client(shared, synchronous=synchronous)
    if synchronous:
        answer = await asyncio.to_thread(asked.multimodal_embed, inputs, model="m")
    else:
        answer = await asked.multimodal_embed(inputs, model="m", input_type="document")
    wanted = await expected(
        shared, "a", URI, {"content": ["a", URI]}, {"content": [{"text": "a"}, {"text": "two words"}]}
    )
    assert np.array_equal(np.array(answer.embeddings, np.float32), wanted)
    assert (answer.text_tokens, answer.total_tokens) == (3 + 3 + 7, 13)
    assert (answer.image_pixels, answer.video_pixels) == (2 * 40 * 40, 0)


@SHARED
@pytest.mark.parametrize("kind", ["float", "int8", "uint8", "binary", "ubinary"])
async def test_its_client_reads_every_type_of_number(shared: Asking, kind: str) -> None:
    answer = await client(shared).multimodal_embed([["a"], ["b"]], model="m", output_dtype=kind)
    rows = await expected(shared, "a", "b")
    int8 = (await shared.service.call(
        "EmbedText",
        pb.EmbedTextRequest(texts=["a", "b"], options=pb.EmbeddingOptions(encoding=pb.ENCODING_INT8)),
    )).embeddings.data  # fmt: skip
    codes = np.frombuffer(int8, np.int8).reshape(2, -1).astype(int)
    bits = np.packbits(rows > 0, axis=1).astype(int)
    wanted = {"float": rows, "int8": codes, "uint8": codes + 128, "binary": bits - 128, "ubinary": bits}
    assert np.array_equal(np.array(answer.embeddings), wanted[kind])


@SHARED
async def test_numbers_come_as_numbers_where_base64_is_not_asked_for(shared: Asking) -> None:
    rows = await expected(shared, "a")
    (one,) = (await embed(shared, TEXT)).json["data"]
    assert np.array_equal(np.array([one["embedding"]], np.float32), rows)
    assert (one["object"], one["index"]) == ("embedding", 0)
    coded = (await embed(shared, TEXT, encoding_format="base64")).json
    assert base64.b64decode(coded["data"][0]["embedding"]) == rows.tobytes()
    assert coded["usage"] == {"text_tokens": 3, "image_pixels": 0, "video_pixels": 0, "total_tokens": 3}
    assert (coded["object"], coded["model"]) == ("list", "m")


async def test_pixels_are_those_of_the_original_from_the_cache_too() -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 20), "red").save(file, "PNG")
    async with asking(cache_bytes=1 << 20) as http:
        for _ in range(2):
            answer = await embed(
                http, {"content": [{"type": "image_url", "image_url": data_uri(file.getvalue())}]}
            )
            assert answer.json["usage"]["image_pixels"] == 300 * 20
        assert http.service.metrics.cache_lookups.value("hit") == 1


@SHARED
async def test_a_text_that_is_too_long_is_cut_unless_that_is_refused(shared: Asking) -> None:
    voyageai = imported("sdks", "voyageai")
    asked = client(shared)
    answer = await asked.multimodal_embed([[LONG]], model="m")
    assert answer.text_tokens == 20
    with pytest.raises(voyageai.error.InvalidRequestError, match=r"inputs\[0\].content\[0\].text: "):
        await asked.multimodal_embed([[LONG]], model="m", truncation=False)


@SHARED
@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({"inputs": None}, "inputs: must not be empty"),
        ({"inputs": []}, "inputs: must not be empty"),
        ({"inputs": "a"}, "inputs: must be a list"),
        ({"inputs": ["a"]}, "inputs[0]: must be an object"),
        ({"inputs": [{}]}, "inputs[0].content: "),
        ({"inputs": [{"content": []}]}, "inputs[0].content: "),
        ({"inputs": [TEXT, {"content": [{"type": "text"}]}]}, "inputs[1].content[0].text: "),
        (
            {"inputs": [{"content": [{"type": "video_url", "video_url": "https://x/y"}]}]},
            "inputs[0].content[0].type: must be one of text",
        ),
        (
            {"inputs": [{"content": [{"type": "image_base64", "image_base64": "AAAA"}]}]},
            "inputs[0].content[0].image_base64: ",
        ),
        (
            {"inputs": [{"content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]}]},
            "inputs[0].content[0].image_url: ",
        ),
        ({"inputs": [TEXT] * 2049}, "inputs: holds 2049 elements"),
        ({"output_dtype": "int4"}, "output_dtype: must be one of float, int8"),
        ({"encoding_format": "float"}, "encoding_format: must be one of base64"),
        ({"truncation": "END"}, "truncation: "),
        ({"output_dimension": 256}, "output_dimension: is 256, but this model's embeddings"),
        ({"model": "none"}, "There is no such model"),
    ],
)
async def test_what_cannot_be_used_is_named(shared: Asking, body: Any, start: str) -> None:
    answer = await embed(shared, TEXT, **body)
    assert (answer.status, list(answer.json)) == (400, ["detail"])
    assert answer.json["detail"].startswith(start)


async def test_errors_are_of_the_clients_own_types() -> None:
    error = imported("sdks", "voyageai").error
    async with keyed(http_max_body_bytes=100_000) as http:

        async def raised(text: str = "a", key: str = SECRET, model: str = "m") -> Any:
            with pytest.raises(error.VoyageError) as caught:
                await client(http, key).multimodal_embed([[text]], model=model)
            return caught.value

        assert type(await raised(key="wrong")) is error.AuthenticationError
        assert type(await raised(model="none")) is error.InvalidRequestError
        assert (await raised("a" * 100_000)).http_status == 413
        http.service.pool.fail = lambda item: Internal()
        assert type(await raised()) is error.ServerError
        http.service.pool.ready = False
        assert type(await raised("b")) is error.ServiceUnavailableError


async def test_its_client_comes_again_by_itself_when_the_queue_is_full() -> None:
    async with asking(max_queue_items=1) as http:
        http.service.pool.hold = asyncio.Event()
        asked = client(http, retries=8)
        calls = [
            asyncio.create_task(asked.multimodal_embed([[f"text {index}"]], model="m")) for index in range(3)
        ]
        await eventually(lambda: http.counted("/v1/multimodalembeddings", 429) >= 2)
        http.service.pool.hold.set()
        assert [len(answer.embeddings) for answer in await asyncio.gather(*calls)] == [1] * 3


@SHARED
@pytest.mark.parametrize("kind", [None, "float", "int8", "uint8", "binary", "ubinary"])
async def test_its_embed_speaks_to_the_route_of_openai(shared: Asking, kind: str | None) -> None:
    texts, asked = ["a", "two words"], client(shared)
    answer = await asked.embed(
        texts, model="m", input_type="query", output_dtype=kind, output_dimension=DIMENSION
    )
    alike = await asked.multimodal_embed([[text] for text in texts], model="m", output_dtype=kind)
    assert np.array_equal(answer.embeddings, alike.embeddings)
    assert answer.total_tokens == 3 + 4


@SHARED
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"output_dtype": "int4"}, "output_dtype"),
        ({"output_dtype": "int8", "embed_dtype": "int8"}, "output_dtype"),
        ({"output_dimension": 8}, "output_dimension"),
    ],
)
async def test_its_embed_cannot_ask_for_what_there_is_not(shared: Asking, body: Any, param: str) -> None:
    assert (await shared.refused(input="a", **body))["param"] == param


@SHARED
async def test_other_refusals_have_its_shape_too(shared: Asking) -> None:
    for answer, status in (
        (await shared.get("/v1/multimodalembeddings"), 405),
        (await shared.post("/v1/multimodalembeddings", b"{"), 400),
        (await shared.ask("POST", "/v1/multimodalembeddings", data=b"a"), 415),
    ):
        assert (answer.status, list(answer.json)) == (status, ["detail"])
