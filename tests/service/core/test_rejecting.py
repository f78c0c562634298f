"""A cut text that the caller refuses: an error of its own, whether its content is known, under way or new."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.running import LONG, Running, counted, detail, held, release
from worker.arrays import Tokens
from worker.runtime.notices import Priority

STRICT = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)


async def rejecting(service: Running, *texts: str) -> dict[str, str]:
    """What a stream that takes no cut text answers, by text: "ok", or the reason of its error."""
    stream = service.stream(timeout=60)
    config = pb.StreamConfig(options=STRICT, priority=pb.PRIORITY_INTERACTIVE)
    await stream.write(pb.EmbedStreamRequest(config=config))
    items = [pb.StreamItem(id=text, text=text) for text in texts]
    await stream.write(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
    await stream.done_writing()
    answers: dict[str, str] = {}
    async for message in stream:
        answers |= dict.fromkeys(message.ids, "ok")
        answers |= {error.id: detail(error.status, ErrorInfo).reason for error in message.errors}
    return answers


@pytest.mark.parametrize("others", [(), ("new",), ("a cat", "new")])
async def test_a_stream_that_rejects_a_known_cut_text_answers_all_others(
    caching: Running, others: tuple[str, ...]
) -> None:
    await caching.call("EmbedText", pb.EmbedTextRequest(texts=[LONG, "a cat"]))
    expected = {LONG: "TEXT_TOO_LONG", **dict.fromkeys(others, "ok")}
    assert await rejecting(caching, LONG, *others) == expected
    assert counted(caching) == {"ok": 2 + len(others), "failed": 1, "cancelled": 0}
    assert caching.metrics.accepted.value("m", "text") == 3 + len(others)


@pytest.mark.parametrize("others", [(), ("new",)])
async def test_a_stream_rejects_a_cut_text_whose_computation_ends_while_it_reads_the_others(
    service: Running, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    (taken,) = await held(service, pb.EmbedTextRequest(texts=[LONG]))
    preprocessor = service.server.core.model("").preprocessor
    tokens = preprocessor.tokens

    async def late(texts: Sequence[str], priority: Priority = Priority.INTERACTIVE) -> Sequence[Tokens]:
        release(service)
        await taken
        return await tokens(texts, priority)

    monkeypatch.setattr(preprocessor, "tokens", late)
    expected = {LONG: "TEXT_TOO_LONG", **dict.fromkeys(others, "ok")}
    assert await rejecting(service, LONG, *others) == expected
    release(service)
    assert list((await taken).truncated) == [0]
    assert counted(service) == {"ok": 1 + len(others), "failed": 1, "cancelled": 0}
    assert service.metrics.accepted.value("m", "text") == 2 + len(others)
    assert len(service.server.core.model("").coalescer) == 0


async def test_the_first_cut_text_is_named_whatever_is_known(caching: Running) -> None:
    await caching.call("EmbedText", pb.EmbedTextRequest(texts=[LONG]))
    request = pb.EmbedTextRequest(texts=["a", LONG + "new", LONG], options=STRICT)
    assert (await caching.refusal("EmbedText", request)).paths == ["texts[1]"]
