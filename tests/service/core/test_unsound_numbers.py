"""A number that cannot be right reaches nobody, whatever it is and whichever way it would leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal
from service.frontend.api.messages import Scores
from service.frontend.api.vectors import scores
from tests.service.fake_pools import DIMENSION
from tests.service.running import Running, pictures, running
from tests.service.spoiling import gives
from tests.service.streaming import batch, run
from worker.errors import ModelError
from worker.spec import ModelInfo

PICTURE = pb.Image(content=pictures(1)[0])
FLOAT16 = pb.ENCODING_FLOAT16
RAW = pb.EmbeddingOptions(normalize=False)
BITS = pb.EmbeddingOptions(encoding=pb.ENCODING_BINARY)
RAW16 = pb.EmbeddingOptions(encoding=FLOAT16, normalize=False)


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running(cache_bytes=1 << 20) as made:
        yield made


TEXT = pb.Item(text="a")
CALLS: dict[str, tuple[str, Any]] = {
    "an embedding of a text": ("EmbedText", pb.EmbedTextRequest(texts=["a", "b"])),
    "a raw one": ("EmbedText", pb.EmbedTextRequest(texts=["a"], options=RAW)),
    "one in bits": ("EmbedText", pb.EmbedTextRequest(texts=["a"], options=BITS)),
    "an embedding of an image": ("EmbedImage", pb.EmbedImageRequest(images=[PICTURE])),
    "a score": ("Similarity", pb.SimilarityRequest(queries=[TEXT], candidates=[TEXT])),
    "a probability": ("ClassifyImage", pb.ClassifyImageRequest(images=[PICTURE], labels=["a", "b"])),
    "a state of a prompt": ("EncodePrompt", pb.EncodePromptRequest(texts=["a"])),
    "one in half precision": ("EncodePrompt", pb.EncodePromptRequest(texts=["a"], encoding=FLOAT16)),
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_whose_answer_would_hold_one_is_internal(
    name: str, value: float, service: Running
) -> None:
    gives(service, value)
    refused = await service.refusal(*CALLS[name])
    assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("EncodePrompt", pb.EncodePromptRequest(texts=["a"], encoding=FLOAT16)),
        ("EmbedText", pb.EmbedTextRequest(texts=["a"], options=RAW16)),
    ],
)
async def test_half_precision_that_would_overflow_is_internal_and_single_precision_is_not(
    method: str, request_: Any, service: Running
) -> None:
    gives(service, 70_000.0)
    assert (await service.refusal(method, request_)).reason == "INTERNAL"
    if method == "EncodePrompt":
        request_ = pb.EncodePromptRequest(texts=["a"])
    else:
        request_ = pb.EmbedTextRequest(texts=["a"], options=RAW)
    await service.call(method, request_)


@pytest.mark.parametrize("value", [np.nan, 70_000.0])
async def test_in_a_stream_it_is_the_error_of_its_item(value: float, service: Running) -> None:
    config = pb.EmbedStreamRequest(config=pb.StreamConfig(options=RAW16))
    gives(service, value, times=1)
    items = [pb.StreamItem(id=str(number), text=f"text {number}") for number in range(5)]
    call = service.stream()
    await call.write(config)
    await call.write(batch(*items))
    await call.done_writing()
    answers = [message async for message in call]
    ids = [name for message in answers for name in message.ids]
    (error,) = [each for message in answers for each in message.errors]
    assert sorted([*ids, error.id]) == ["0", "1", "2", "3", "4"]
    assert sum(len(message.token_counts) for message in answers) == len(ids) == 4
    data = b"".join(message.embeddings.data for message in answers)
    assert np.isfinite(np.frombuffer(data, "<f2")).all()


async def test_what_was_wrong_once_is_not_kept(service: Running) -> None:
    gives(service, np.nan, times=1)
    request = pb.EmbedTextRequest(texts=["a"])
    assert (await service.refusal("EmbedText", request)).reason == "INTERNAL"
    answer = await service.call("EmbedText", request)
    assert np.isfinite(np.frombuffer(answer.embeddings.data, "<f4")).all()
    assert answer.embeddings.dimension == DIMENSION


async def test_its_neighbours_in_a_stream_are_answered(service: Running) -> None:
    gives(service, np.inf, times=1)
    items = [
        pb.StreamItem(id=str(number), image=pb.Image(content=file)) for number, file in enumerate(pictures(4))
    ]
    answers = await run(service, pb.EmbedStreamRequest(config=pb.StreamConfig()), batch(*items))
    assert len(answers.rows) == 3
    assert answers.reason(*answers.errors) == "INTERNAL"


def test_a_score_beyond_single_precision_is_internal() -> None:
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(Internal):
        scores(rows, rows, Scores.LOGIT, 1e39)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, -1.0, 1e39])
def test_a_logit_scale_that_is_no_positive_number_is_no_models(scale: float) -> None:
    with pytest.raises(ModelError, match="logit scale"):
        ModelInfo(device="cpu", dtype="float32", logit_scale=scale)
