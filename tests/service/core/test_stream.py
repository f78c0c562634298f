"""EmbedStream: per-item answers, bounded windows, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import Internal, WorkerUnavailable
from service.frontend.compute.flights import WorkItem
from service.frontend.core import stream as stream_module
from tests.service.running import DIMENSION, Refused, Running, detail, eventually, pictures, running
from worker.runtime.notices import Modality, Priority

CONFIG = pb.EmbedStreamRequest(config=pb.StreamConfig())
PICTURES = pictures(4)


def batch(*items: pb.StreamItem) -> pb.EmbedStreamRequest:
    return pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


def texts(numbers: Iterable[int]) -> pb.EmbedStreamRequest:
    return batch(*(pb.StreamItem(id=str(number), text=f"text {number}") for number in numbers))


class Answers:
    """Everything a stream gave, by id."""

    def __init__(self, messages: Sequence[pb.EmbedStreamResponse]) -> None:
        self.messages = messages
        self.rows: dict[str, Any] = {}
        self.errors: dict[str, pb.StreamError] = {}
        self.truncated: set[str] = set()
        for message in messages:
            assert message.embeddings.count == len(message.ids)
            if message.ids:
                rows = np.frombuffer(message.embeddings.data, "<f4").reshape(len(message.ids), DIMENSION)
                self.rows.update(zip(message.ids, rows, strict=True))
            self.errors.update({error.id: error for error in message.errors})
            self.truncated.update(message.ids[index] for index in message.truncated)

    def reason(self, name: str) -> str:
        return str(detail(self.errors[name].status, error_details_pb2.ErrorInfo).reason)


async def run(service: Running, *requests: pb.EmbedStreamRequest, half_close: bool = True) -> Answers:
    """Sends these and takes all answers; raises Refused."""
    call = service.stream()

    async def send() -> None:
        for request in requests:
            await call.write(request)
        if half_close:
            await call.done_writing()

    sending = asyncio.create_task(send())
    try:
        return Answers([message async for message in call])
    except grpc.aio.AioRpcError as error:
        raise Refused(error) from None
    finally:
        await asyncio.gather(sending, return_exceptions=True)


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


async def test_a_stream_waits_for_the_first_worker(service: Running) -> None:
    service.pool.ready = False
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts([1]))
    await call.done_writing()
    await asyncio.sleep(0.1)
    service.pool.ready = True
    assert len(Answers([message async for message in call]).rows) == 1


async def test_a_stream_that_no_worker_comes_for_is_unavailable(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module.Session.__init__, "__kwdefaults__", {"patience": 0.1})
    service.pool.ready = False
    with pytest.raises(Refused) as refused:
        await run(service, CONFIG, half_close=False)
    assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")


async def test_items_of_a_dead_worker_are_computed_by_the_next(service: Running) -> None:
    pool = service.pool

    def die(item: WorkItem) -> WorkerUnavailable:
        pool.ready = False
        return WorkerUnavailable()

    async def revive() -> None:
        await eventually(lambda: not pool.ready)
        await asyncio.sleep(0.2)
        pool.fail = lambda item: None
        pool.ready = True

    pool.fail = die
    reviving = asyncio.create_task(revive())
    answers = await run(service, CONFIG, texts(range(300)))
    await reviving
    assert len(answers.rows) == 300


async def test_items_fail_when_no_worker_comes_back(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module.Session.__init__, "__kwdefaults__", {"patience": 0.1})
    service.pool.hold = asyncio.Event()
    service.pool.fail = lambda item: WorkerUnavailable()
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(10)))
    await eventually(lambda: service.pool.deadlines)
    service.pool.ready = False
    service.pool.hold.set()
    await call.done_writing()
    answers = Answers([message async for message in call])
    assert {answers.reason(name) for name in answers.errors} == {"WORKER_UNAVAILABLE"}
    assert len(answers.errors) == 10
    assert await call.code() is grpc.StatusCode.OK


async def test_an_item_that_breaks_the_encoder_fails_alone(service: Running) -> None:
    poison = service.server.core.model("").preprocessor
    (tokens,) = await poison.tokens(["text 7"])
    service.pool.fail = lambda item: Internal() if item.payload.tobytes() == tokens.ids.tobytes() else None
    answers = await run(service, CONFIG, texts(range(20)))
    assert len(answers.rows) == 19
    assert answers.reason("7") == "INTERNAL"


async def test_a_bug_while_preparing_is_the_items_error_and_the_stream_goes_on(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessor = service.server.core.model("").preprocessor
    pixels = preprocessor.pixels

    async def buggy(content: bytes, priority: Priority = Priority.INTERACTIVE) -> Any:
        if content == b"bug":
            raise RuntimeError("secret")
        return await pixels(content, priority)

    monkeypatch.setattr(preprocessor, "pixels", buggy)
    items = [
        pb.StreamItem(id=str(n), image=pb.Image(content=file)) for n, file in enumerate([*PICTURES, b"bug"])
    ]
    answers = await run(service, CONFIG, batch(*items))
    assert sorted(answers.rows) == ["0", "1", "2", "3"]
    assert answers.reason("4") == "INTERNAL"
    assert "secret" not in answers.errors["4"].status.message


async def test_a_client_that_takes_no_answers_is_read_from_no_further() -> None:
    small = (("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0))
    async with running(options="dimension=8192", stream_window=128, channel_options=small) as service:
        call = service.stream()
        await call.write(CONFIG)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for start in itertools.count(0, 50):
                await call.write(texts(range(start, start + 50)))
                sent += 50

        sending = asyncio.create_task(send())
        await asyncio.sleep(1.0)
        before = len(service.pool.computed)
        await asyncio.sleep(1.0)
        assert len(service.pool.computed) == before, "it computes on although nobody takes the answers"
        assert before < 2000
        # Others do not notice.
        await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"]), timeout=5)
        # Once answers are taken it goes on.
        taken = 0
        while taken < before + 500:
            message = await call.read()
            taken += len(message.ids)
        sending.cancel()
        call.cancel()
        await eventually(lambda: service.server.core.gate.active == 0)


async def test_a_stream_that_is_cancelled_leaves_nothing(service: Running) -> None:
    service.pool.hold = asyncio.Event()
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(200)))
    await eventually(lambda: service.pool.deadlines)
    call.cancel()
    await eventually(lambda: service.server.core.gate.active == 0)
    assert service.server.core.model("").admission.in_flight == 0
    assert service.requests("EmbedStream", "CANCELLED") == 1
    assert {item.modality for item in service.pool.cancelled} == {Modality.TEXT}
    assert service.pool.computed == []


async def test_results_come_as_they_are_ready(service: Running) -> None:
    call = service.stream()
    await call.write(CONFIG)
    for number in range(3):
        await call.write(texts([number]))
        message = await asyncio.wait_for(call.read(), 5)
        assert list(message.ids) == [str(number)]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_streams_wait_where_calls_are_refused() -> None:
    async with running(max_queue_items=64, stream_window=512) as service:
        answers = await run(
            service, CONFIG, *(texts(range(start, start + 500)) for start in range(0, 3000, 500))
        )
        assert len(answers.rows) == 3000


async def test_a_message_stays_under_what_stock_clients_take() -> None:
    async with running(options="dimension=8192", stream_window=1000) as service:
        answers = await asyncio.wait_for(stream_sizes(service), 20)
        assert max(answers) <= 2 << 20
        assert sum(answers) > 30 << 20


async def stream_sizes(service: Running) -> list[int]:
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(1000)))
    await call.done_writing()
    return [message.ByteSize() async for message in call]
