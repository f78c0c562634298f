"""EmbedStream: an answer for each item, and an error for the stream where its messages are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.fake_pools import DIMENSION
from tests.service.running import Refused, Running, detail, pictures
from tests.service.streaming import CONFIG, batch, run, texts
from worker.runtime.notices import Priority

PICTURES = pictures(4)


async def test_every_item_has_the_answer_that_a_unary_call_gives(service: Running) -> None:
    images = [pb.StreamItem(id=f"p{n}", image=pb.Image(content=file)) for n, file in enumerate(PICTURES)]
    mixed = [item for pair in zip(images, texts(range(4)).batch.items, strict=True) for item in pair]
    answers = await run(service, CONFIG, batch(*mixed), texts(range(4, 300)))
    assert len(answers.rows) == 304
    alone = await service.call("EmbedText", pb.EmbedTextRequest(texts=[f"text {n}" for n in range(200)]))
    expected = np.frombuffer(alone.embeddings.data, "<f4").reshape(200, DIMENSION)
    np.testing.assert_array_equal(np.stack([answers.rows[str(n)] for n in range(200)]), expected)
    picture = await service.call("EmbedImage", pb.EmbedImageRequest(images=[images[3].image]))
    np.testing.assert_array_equal(answers.rows["p3"], np.frombuffer(picture.embeddings.data, "<f4"))
    assert answers.messages[0].revision == "0123456789abcdef"
    assert answers.messages[0].timings.batch_size > 0


async def test_bulk_is_the_default_priority_of_a_stream(service: Running) -> None:
    await run(service, CONFIG, texts([1]))
    urgent = pb.EmbedStreamRequest(config=pb.StreamConfig(priority=pb.PRIORITY_INTERACTIVE))
    await run(service, urgent, texts([1]))
    assert service.pool.priorities == [Priority.BULK, Priority.INTERACTIVE]


async def test_bad_items_fail_alone(service: Running) -> None:
    options = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)
    config = pb.EmbedStreamRequest(config=pb.StreamConfig(options=options))
    bad = batch(
        pb.StreamItem(id="ok", text=""),
        pb.StreamItem(id="long", text="w " * 40),
        pb.StreamItem(id="huge", text="w" * 70_000),
        pb.StreamItem(id="nothing"),
        pb.StreamItem(id="no source", image=pb.Image()),
        pb.StreamItem(id="no picture", image=pb.Image(content=b"x")),
        pb.StreamItem(id="svg", image=pb.Image(content=b"<svg/>")),
        pb.StreamItem(id="address", image=pb.Image(uri="http://example.com/x")),
        pb.StreamItem(id="picture", image=pb.Image(content=PICTURES[0])),
        pb.StreamItem(id="x" * 300, text="a"),
        pb.StreamItem(id="", text="no name"),
    )
    answers = await run(service, config, bad)
    assert set(answers.rows) == {"ok", "picture", ""}
    assert {name[:10]: answers.reason(name) for name in answers.errors} == {
        "long": "TEXT_TOO_LONG",
        "huge": "TEXT_TOO_LONG",
        "nothing": "INVALID_REQUEST",
        "no source": "INVALID_REQUEST",
        "no picture": "UNDECODABLE_IMAGE",
        "svg": "UNSUPPORTED_IMAGE",
        "address": "URI_NOT_ALLOWED",
        "x" * 10: "INVALID_REQUEST",
    }
    assert (
        detail(answers.errors["no picture"].status, error_details_pb2.BadRequest).field_violations[0].field
        == "image.content"
    )
    assert "x" * 256 in answers.errors
    assert service.metrics.items.value("m", "image", "failed") == 4


async def test_a_text_that_the_tokenizer_fails_on_is_an_error_of_its_own(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer: Any = service.server.core.model("").preprocessor._tokenizer
    encode = tokenizer.encode

    def failing(given: Sequence[str]) -> Any:
        if "text 7" in given:
            raise ZeroDivisionError
        return encode(given)

    monkeypatch.setattr(tokenizer, "encode", failing)
    answers = await run(service, CONFIG, texts(range(64)))
    assert {name: answers.reason(name) for name in answers.errors} == {"7": "INTERNAL"}
    assert len(answers.rows) == 63
    assert service.metrics.items.value("m", "text", "failed") == 1
    assert service.metrics.items.value("m", "text", "ok") == 63


async def test_cut_texts_are_reported(service: Running) -> None:
    items = [pb.StreamItem(id="short", text="a"), pb.StreamItem(id="long", text="w " * 40)]
    answers = await run(service, CONFIG, batch(*items), texts(range(3)))
    assert answers.truncated == {"long"}


async def test_one_bad_item_among_ten_thousand(service: Running) -> None:
    bad = batch(pb.StreamItem(id="bad", image=pb.Image(content=b"x")))
    requests = [texts(range(start, start + 1000)) for start in range(0, 10_000, 1000)]
    answers = await run(service, CONFIG, *requests[:5], bad, *requests[5:])
    assert len(answers.rows) == 10_000
    assert list(answers.errors) == ["bad"]


@pytest.mark.parametrize(
    ("requests", "path"),
    [
        ([], "config"),
        ([texts([1])], "config"),
        ([pb.EmbedStreamRequest()], "config"),
        ([CONFIG, CONFIG], "config"),
        ([CONFIG, pb.EmbedStreamRequest()], "batch"),
        ([CONFIG, texts(range(1025))], "batch.items"),
        (
            [pb.EmbedStreamRequest(config=pb.StreamConfig(options=pb.EmbeddingOptions(encoding=9)))],  # type: ignore[arg-type]
            "config.options.encoding",
        ),
        ([pb.EmbedStreamRequest(config=pb.StreamConfig(priority=9))], "config.priority"),  # type: ignore[arg-type]
    ],
)
async def test_a_wrong_order_of_messages_ends_the_stream(
    service: Running, requests: list[pb.EmbedStreamRequest], path: str
) -> None:
    with pytest.raises(Refused) as refused:
        # A client of grpc.aio that writes on while the status comes in reports an error of its own instead.
        await run(service, *requests, half_close=not requests)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert refused.value.paths == [path]


async def test_an_unknown_model_ends_the_stream(service: Running) -> None:
    with pytest.raises(Refused) as refused:
        await run(service, pb.EmbedStreamRequest(config=pb.StreamConfig(model="none")), half_close=False)
    assert refused.value.reason == "MODEL_NOT_FOUND"


async def test_unreadable_bytes_end_the_stream(service: Running) -> None:
    call = service.channel.stream_stream("/altclip.v1.EmbeddingService/EmbedStream")()
    await call.write(CONFIG.SerializeToString())
    await call.write(b"\x12\x07\x0a\x05\x12\x03\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    error = Refused(refused.value)
    assert (error.code, error.paths) == ("INVALID_ARGUMENT", ["batch.items[0].text"])


async def test_empty_batches_and_an_empty_stream_are_fine(service: Running) -> None:
    assert (await run(service, CONFIG)).messages == []
    assert len((await run(service, CONFIG, batch(), texts([1]), batch())).rows) == 1


async def test_a_bug_while_preparing_is_the_items_error_and_the_stream_goes_on(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessor = service.server.core.model("").preprocessor
    pixels = preprocessor.pixels

    async def buggy(content: bytes, priority: Priority, *, upright: bool) -> Any:
        if content == b"bug":
            raise RuntimeError("secret")
        return await pixels(content, priority, upright=upright)

    monkeypatch.setattr(preprocessor, "pixels", buggy)
    items = [
        pb.StreamItem(id=str(n), image=pb.Image(content=file)) for n, file in enumerate([*PICTURES, b"bug"])
    ]
    answers = await run(service, CONFIG, batch(*items))
    assert sorted(answers.rows) == ["0", "1", "2", "3"]
    assert answers.reason("4") == "INTERNAL"
    assert "secret" not in answers.errors["4"].status.message
