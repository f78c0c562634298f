"""Cohere's own client, and the bodies that it sends: the same embeddings, its usage, its errors."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal
from tests.overlays import imported
from tests.service.fake_pools import DIMENSION
from tests.service.http.asking import PICTURE, SECRET, Answer, Asking, asking, data_uri, keyed
from tests.service.running import eventually, pictures
from worker.runtime.notices import Priority

SHARED = pytest.mark.asyncio(loop_scope="session")
LONG = "word " * 30
URI = data_uri(PICTURE)
TEXTS = ["a", "two words", "日本語"]
INPUT = {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": URI}}]}


def client(http: Asking, key: str = "any", *, synchronous: bool = False, **options: Any) -> Any:
    cohere = imported("sdks", "cohere")
    made = cohere.ClientV2 if synchronous else cohere.AsyncClientV2
    # A context: it closes its connections at the end.
    return made(api_key=key, base_url=f"http://{http.service.http}", **options)


async def embed(http: Asking, **body: Any) -> Answer:
    return await http.post("/v2/embed", {"model": "m", "input_type": "search_query", **body})


async def refused(http: Asking, **body: Any) -> str:
    answer = await embed(http, **body)
    assert (answer.status, list(answer.json)) == (400, ["message"]), answer.body[:500]
    return str(answer.json["message"])


async def grpc(http: Asking, method: str, **fields: Any) -> Any:
    kinds = {"EmbedText": pb.EmbedTextRequest, "EmbedImage": pb.EmbedImageRequest}
    return (await http.service.call(method, kinds[method](**fields))).embeddings


def matrix(value: Any, dtype: str = "<f4") -> Any:
    return np.array(value, dtype)


@SHARED
async def test_its_client_gets_the_texts_of_grpc_to_the_last_bit(shared: Asking) -> None:
    async with client(shared) as asked:
        answer = await asked.embed(model="m", input_type="search_document", texts=TEXTS)
    expected = await grpc(shared, "EmbedText", texts=TEXTS)
    assert matrix(answer.embeddings.float_).tobytes() == expected.data
    assert answer.texts == TEXTS
    assert answer.response_type == "embeddings_by_type"
    assert answer.id
    assert (answer.meta.billed_units.input_tokens, answer.meta.billed_units.images) == (3 + 4 + 3, 0)


@SHARED
async def test_its_synchronous_client_is_answered_alike(shared: Asking) -> None:
    with client(shared, synchronous=True) as asked:
        answer = await asyncio.to_thread(asked.embed, model="m", input_type="search_query", texts=TEXTS)
    assert matrix(answer.embeddings.float_).tobytes() == (await grpc(shared, "EmbedText", texts=TEXTS)).data


@SHARED
async def test_its_client_gets_images(shared: Asking) -> None:
    files = pictures(2)
    async with client(shared) as asked:
        answer = await asked.embed(model="m", input_type="image", images=list(map(data_uri, files)))
    expected = await grpc(shared, "EmbedImage", images=[pb.Image(content=file) for file in files])
    assert matrix(answer.embeddings.float_).tobytes() == expected.data
    assert (answer.meta.billed_units.input_tokens, answer.meta.billed_units.images) == (0, 2)
    assert answer.texts == []


@SHARED
async def test_its_client_gets_one_vector_for_the_parts_of_an_input(shared: Asking) -> None:
    cohere = imported("sdks", "cohere")
    content = [
        cohere.TextEmbedContent(text="a"),
        cohere.ImageUrlEmbedContent(image_url=cohere.EmbedImageUrl(url=URI)),
    ]
    async with client(shared) as asked:
        answer = await asked.embed(
            model="m", input_type="search_query", inputs=[cohere.EmbedInput(content=content)]
        )
    ours = await shared.embed(input=[{"content": [{"text": "a"}, {"image": URI}]}])
    assert answer.embeddings.float_ == [ours.json["data"][0]["embedding"]]
    assert (answer.meta.billed_units.input_tokens, answer.meta.billed_units.images) == (3, 1)


@SHARED
async def test_every_type_of_number_is_made_from_ours(shared: Asking) -> None:
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    for fields in ({"texts": TEXTS}, {"images": [URI]}):
        async with client(shared) as asked:
            answer = await asked.embed(model="m", input_type="search_query", embedding_types=kinds, **fields)
        found = answer.embeddings
        rows = np.array(found.float_, np.float32)
        source = {"texts": TEXTS} if "texts" in fields else {"images": [pb.Image(content=PICTURE)]}
        method = "EmbedText" if "texts" in fields else "EmbedImage"
        int8 = await grpc(shared, method, **source, options=pb.EmbeddingOptions(encoding=pb.ENCODING_INT8))
        assert np.array(found.int8, np.int8).tobytes() == int8.data
        assert (np.array(found.uint8) == np.array(found.int8) + 128).all()
        bits = np.packbits(rows > 0, axis=1)
        assert (np.array(found.ubinary) == bits).all()
        assert (np.array(found.binary) == bits.astype(int) - 128).all()
        assert b"".join(map(base64.b64decode, found.base64)) == rows.tobytes()


@SHARED
async def test_only_the_types_that_are_asked_for_are_answered(shared: Asking) -> None:
    for asked, found in ((None, ["float"]), ([], ["float"]), (["int8", "int8"], ["int8"])):
        answer = await embed(shared, texts=["a"], embedding_types=asked)
        assert list(answer.json["embeddings"]) == found


@SHARED
async def test_a_text_that_is_too_long_is_cut_unless_that_is_refused(shared: Asking) -> None:
    cut = await embed(shared, texts=[LONG])
    assert cut.json["embeddings"] == (await embed(shared, texts=[LONG], truncate="END")).json["embeddings"]
    assert (await refused(shared, texts=["a", LONG], truncate="NONE")).startswith("texts[1]: ")


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({}, "texts: "),
        ({"texts": []}, "texts: "),
        ({"texts": ["a"], "images": [URI]}, "images: is given together with texts"),
        ({"images": [URI], "inputs": [INPUT]}, "inputs: is given together with images"),
        ({"texts": "a"}, "texts: must be a list, not a string"),
        ({"texts": ["a", 1]}, "texts[1]: "),
        ({"images": ["AAAA"]}, "images[0]: "),
        ({"images": [{"url": URI}]}, "images[0]: must be a string"),
        ({"images": ["https://example.com/a.png"]}, "images[0]: "),
        ({"inputs": ["a"]}, "inputs[0]: must be an object"),
        ({"inputs": [{"text": "a"}]}, "inputs[0].content: "),
        ({"inputs": [{"content": []}]}, "inputs[0].content: "),
        (
            {"inputs": [INPUT, {"content": [{"type": "image_url", "image_url": {"url": "AAAA"}}]}]},
            "inputs[1].content[0].image_url.url: ",
        ),
        ({"inputs": [{"content": [{"type": "audio"}]}]}, "inputs[0].content[0].type: "),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "embedding_types[0]: must be one of float, int8"),
        ({"texts": ["a"], "embedding_types": "int8"}, "embedding_types: "),
        ({"texts": ["a"], "truncate": "START"}, "truncate: START is not offered"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate: must be one of END, NONE"),
        (
            {"texts": ["a"], "output_dimension": 256},
            f"output_dimension: is 256, but this model's embeddings have {DIMENSION}",
        ),
        ({"texts": ["a"], "max_tokens": 8}, "max_tokens: "),
        ({"texts": ["a"], "priority": "soon"}, "priority: "),
    ],
)
@SHARED
async def test_a_field_that_cannot_be_used_is_named(shared: Asking, body: Any, start: str) -> None:
    assert (await refused(shared, **body)).startswith(start)


async def test_priority_and_what_changes_nothing_are_accepted(http: Asking) -> None:
    answer = await embed(
        http, texts=["a"], priority=5, output_dimension=DIMENSION, max_tokens=512, images=None, other=1
    )
    assert answer.status == 200
    assert http.service.pool.priorities == [Priority.BULK]


async def test_errors_are_of_the_clients_own_types() -> None:
    cohere = imported("sdks", "cohere")
    async with keyed("models=m", models=("m", "other"), http_max_body_bytes=100_000) as http:

        async def raised(key: str = SECRET, model: str = "m", **fields: Any) -> Any:
            async with client(http, key, max_retries=0) as asked:
                with pytest.raises(cohere.core.ApiError) as caught:
                    await asked.embed(model=model, input_type="search_query", **(fields or {"texts": ["a"]}))
            assert caught.value.body["message"]
            return caught.value

        assert type(await raised(key="wrong")) is cohere.UnauthorizedError
        assert type(await raised(model="other")) is cohere.ForbiddenError
        assert type(await raised(images=[data_uri(b"no picture")])) is cohere.BadRequestError
        assert type(await raised(texts=["a"] * 2049)) is cohere.BadRequestError
        assert (await raised(texts=["a" * 100_000])).status_code == 413
        http.service.pool.fail = lambda item: Internal()
        assert type(await raised()) is cohere.InternalServerError
    async with asking() as http, client(http) as asked:
        with pytest.raises(cohere.NotFoundError):
            await asked.embed(model="none", input_type="search_query", texts=["a"])


async def test_other_refusals_have_its_shape_too(http: Asking) -> None:
    for answer, status in (
        (await http.get("/v2/embed"), 405),
        (await http.post("/v2/embed", b"{"), 400),
        (await http.ask("POST", "/v2/embed", data=b"a"), 415),
    ):
        assert (answer.status, list(answer.json)) == (status, ["message"])
    assert http.counted("/v2/embed", 415) == 1


async def test_its_client_comes_again_by_itself_when_the_queue_is_full() -> None:
    async with asking(max_queue_items=1) as http, client(http, max_retries=8) as asked:
        http.service.pool.hold = asyncio.Event()
        calls = [
            asyncio.create_task(asked.embed(model="m", input_type="search_query", texts=[f"text {index}"]))
            for index in range(4)
        ]
        await eventually(lambda: http.counted("/v2/embed", 429) >= 3)
        http.service.pool.hold.set()
        answers = await asyncio.gather(*calls)
        assert [len(answer.embeddings.float_) for answer in answers] == [1] * 4


async def test_without_cohere_its_route_is_unknown() -> None:
    async with asking(http_apis=("openai",)) as http:
        answer = await embed(http, texts=["a"])
        assert (answer.status, answer.error["code"]) == (404, "not_found")
