"""What the pages of other servers of embeddings tell their users to send to /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.fake_pools import DIMENSION
from tests.service.http.asking import PICTURE, Asking, data_uri

SHARED = pytest.mark.asyncio(loop_scope="session")
URI = data_uri(PICTURE)
BARE = base64.b64encode(PICTURE).decode()
VLLM = {
    "role": "user",
    "content": [
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "text", "text": "Represent the image."},
    ],
}
BOTH = {"content": [{"image": URI}, {"text": "Represent the image."}]}


@SHARED
@pytest.mark.parametrize(
    ("path", "body", "plain"),
    [
        pytest.param(
            "/embeddings",
            {
                "model": "m",
                "encoding_format": "float",
                "user": "string",
                "dimensions": 0,
                "input": ["a", "two words"],
                "modality": "text",
            },
            ["a", "two words"],
            id="Infinity's texts",
        ),
        pytest.param(
            "/embeddings",
            {"model": "m", "encoding_format": "float", "input": [URI], "modality": "image"},
            [{"image": URI}],
            id="Infinity's images",
        ),
        pytest.param(
            "/v1/embeddings",
            {"model": "m", "messages": [VLLM], "encoding_format": "float", "truncate_prompt_tokens": -1},
            [BOTH],
            id="vLLM's conversation",
        ),
        pytest.param(
            "/v1/embeddings",
            {
                "model": "m",
                "input": ["a"],
                "add_special_tokens": True,
                "priority": 0,
                "request_id": "r",
                "mm_processor_kwargs": None,
                "embed_dtype": "float32",
                "endianness": "native",
                "normalize": True,
            },
            ["a"],
            id="vLLM's texts",
        ),
        pytest.param(
            "/v1/embeddings",
            {
                "model": "m",
                "task": "text-matching",
                "dimensions": DIMENSION,
                "normalized": True,
                "embedding_type": "float",
                "truncate": True,
                "input": [{"text": "a"}, {"image": URI}, {"image": BARE}],
            },
            [{"text": "a"}, {"image": URI}, {"image": URI}],
            id="Jina's texts and images",
        ),
        pytest.param(
            "/v1/embeddings",
            {"model": "m", "input": [{"text": "Represent the image.", "image": URI}]},
            [{"content": [{"text": "Represent the image."}, {"image": URI}]}],
            id="SGLang's text and image as one",
        ),
    ],
)
async def test_they_are_answered_as_our_own(shared: Asking, path: str, body: Any, plain: Any) -> None:
    answer = (await shared.post(path, body)).json
    ours = (await shared.embed(input=plain)).json
    assert answer == ours
    assert answer["object"] == "list"
    assert [each["index"] for each in answer["data"]] == list(range(len(plain)))
    assert {each["object"] for each in answer["data"]} == {"embedding"}
    assert {"prompt_tokens", "total_tokens"} <= set(answer["usage"])


@SHARED
async def test_a_single_image_of_theirs_is_that_of_grpc(shared: Asking) -> None:
    expected = await shared.service.call(
        "EmbedImage", pb.EmbedImageRequest(images=[pb.Image(content=PICTURE)])
    )
    (one,) = (await shared.post("/embeddings", {"model": "m", "input": [URI], "modality": "image"})).json[
        "data"
    ]
    assert np.array(one["embedding"], "<f4").tobytes() == expected.embeddings.data
