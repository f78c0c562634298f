"""Equal contents: computed once while they are under way, and kept where the operator gave it memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import DeadlineTooShort, Internal, ServiceError, WorkerUnavailable
from service.frontend.compute.content_cache import digest
from tests.service.running import LONG, Running, counted, eventually, held, pictures, release, running
from worker.arrays import Decoded
from worker.runtime.notices import Modality, Priority

CAT = pb.EmbedTextRequest(texts=["a cat"])
BULK_CAT = pb.EmbedTextRequest(texts=["a cat"], priority=pb.PRIORITY_BULK)
PICTURE = pb.EmbedImageRequest(images=[pb.Image(content=pictures(1)[0])])


def call(service: Running, request: pb.EmbedTextRequest = CAT, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(service.call("EmbedText", request, **options))


async def cancelled(service: Running, calls: int) -> None:
    """Once so many calls have ended that way."""
    await eventually(lambda: service.requests("EmbedText", "CANCELLED") == calls)


def failing(service: Running, times: int, error: ServiceError) -> None:
    """The next so many computations fail."""
    left = iter([error] * times)
    service.pool.fail = lambda item: next(left, None)


def counting_decodes(
    service: Running, monkeypatch: pytest.MonkeyPatch, shared: bytes | None = None
) -> list[bytes]:
    """The files that are decoded. shared: one of them, which is not decoded before two calls want it."""
    preprocessor = service.server.core.model("").preprocessor
    pixels, decoded = preprocessor.pixels, []

    async def noted(
        content: bytes, priority: Priority = Priority.INTERACTIVE, *, upright: bool = False
    ) -> Decoded:
        decoded.append(content)
        if content == shared:
            under_way = preprocessor._decoding._under_way[digest(content), upright]
            await eventually(lambda: under_way.holders == 2)
        return await pixels(content, priority, upright=upright)

    monkeypatch.setattr(preprocessor, "pixels", noted)
    return decoded


async def test_equal_texts_under_way_are_computed_once_and_give_the_same_bytes(service: Running) -> None:
    calls = await held(service, CAT, CAT, pb.EmbedTextRequest(texts=["a dog", "a cat", "a cat"]))
    release(service)
    first, second, third = [await each for each in calls]
    assert first.embeddings.data == second.embeddings.data == third.embeddings.data[64:128]
    assert third.embeddings.data[64:128] == third.embeddings.data[128:]
    assert list(third.token_counts) == [4, 4, 4]
    assert len(service.pool.computed) == 2
    assert counted(service) == {"ok": 5, "failed": 0, "cancelled": 0}
    assert service.metrics.accepted.value("m", "text") == 5
    await service.call("EmbedText", CAT)
    assert len(service.pool.computed) == 3, "nothing is kept where the cache is off"


async def test_a_stream_shares_with_unary_calls(service: Running) -> None:
    (unary,) = await held(service, CAT)
    stream = service.stream()
    await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
    items = [pb.StreamItem(id=str(n), text="a cat") for n in range(3)]
    await stream.write(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
    await stream.done_writing()
    await eventually(lambda: service.metrics.accepted.value("m", "text") == 4)
    release(service)
    (message,) = [message async for message in stream]
    assert message.embeddings.data == 3 * (await unary).embeddings.data
    assert len(service.pool.computed) == 1
    assert counted(service)["ok"] == 4


async def test_equal_pictures_are_decoded_and_computed_once(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counting_decodes(service, monkeypatch)
    several = pb.EmbedImageRequest(
        images=[*PICTURE.images, pb.Image(content=pictures(2)[1]), *PICTURE.images]
    )
    service.pool.hold = asyncio.Event()
    calls = [
        asyncio.create_task(service.call("EmbedImage", request)) for request in (PICTURE, several, PICTURE)
    ]
    await eventually(lambda: service.metrics.accepted.value("m", "image") == 5)
    release(service)
    answers = await asyncio.gather(*calls)
    assert answers[0].embeddings.data == answers[2].embeddings.data == answers[1].embeddings.data[:64]
    assert len(decoded) == 2
    assert counted(service, "image")["ok"] == 5
    assert len(service.server.core.model("").coalescer) == 0


async def test_who_cancels_does_not_cancel_it_for_the_others(service: Running) -> None:
    leader, follower = await held(service, CAT, CAT)
    leader.cancel()
    await cancelled(service, 1)
    assert service.pool.cancelled == []
    release(service)
    assert (await follower).embeddings.count == 1
    assert counted(service) == {"ok": 1, "failed": 0, "cancelled": 1}


async def test_the_last_one_to_leave_takes_it_back(service: Running) -> None:
    calls = await held(service, CAT, CAT)
    for number, each in enumerate(calls, 1):
        assert service.pool.cancelled == []
        each.cancel()
        await cancelled(service, number)
    assert len(service.pool.cancelled) == 1
    assert len(service.server.core.model("").coalescer) == 0
    assert counted(service)["cancelled"] == 2


async def test_only_what_nobody_else_wants_is_taken_back(service: Running) -> None:
    many, one = await held(service, pb.EmbedTextRequest(texts=["a cat", "a dog", "a cow"]), CAT)
    many.cancel()
    await eventually(lambda: len(service.pool.cancelled) == 2)
    release(service)
    await one
    assert len(service.pool.computed) == 1


@pytest.mark.parametrize("error", [DeadlineTooShort(), WorkerUnavailable()])
async def test_what_befell_the_first_call_does_not_befall_those_that_joined(
    service: Running, error: ServiceError
) -> None:
    first, *others = await held(service, CAT, CAT, CAT)
    failing(service, 1, error)
    release(service)
    with pytest.raises(AssertionError, match=error.entry.code.name):
        await first
    assert len({(await other).embeddings.data for other in others}) == 1
    assert len(service.pool.computed) == 2
    assert counted(service)["ok"] == 2


async def test_a_content_that_kills_workers_kills_no_more_than_two(service: Running) -> None:
    calls = await held(service, *[CAT] * 5)
    failing(service, 9, WorkerUnavailable())
    release(service)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all("UNAVAILABLE" in str(answer) for answer in answers)
    assert len(service.pool.computed) == 2
    assert counted(service)["failed"] == 5


async def together(service: Running, *calls: tuple[int, pb.EmbedTextRequest]) -> list[float]:
    """Answers these calls, of (seconds, request), but for the first one, whose time is up before it was
    computed. The seconds that each computation had, the first one's apart."""
    service.pool.hold = asyncio.Event()
    began, under_way = time.monotonic(), []
    for seconds, request in calls:
        under_way.append(call(service, request, timeout=seconds))
        await eventually(lambda: service.metrics.accepted.value("m", "text") == len(under_way))
    failing(service, 1, DeadlineTooShort())
    release(service)
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    assert [isinstance(answer, BaseException) for answer in answers] == [True] + [False] * (len(calls) - 1)
    return [round((deadline or 0.0) - began, -2) for deadline in service.pool.deadlines[1:]]


async def test_whose_time_is_not_up_compute_it_once_together_with_the_longest_time(service: Running) -> None:
    calls = [(seconds, CAT) for seconds in (100, 200, 300, 500, 400)]
    assert await together(service, *calls) == [500]
    assert len(service.pool.computed) == 2


async def test_interactive_work_joins_no_bulk_work_that_is_computed_again(service: Running) -> None:
    calls = [(100, CAT), (200, CAT), (300, BULK_CAT), (400, BULK_CAT)]
    assert await together(service, *calls) == [400, 200]
    assert service.pool.priorities == [Priority.INTERACTIVE, Priority.BULK, Priority.INTERACTIVE]


async def test_what_the_model_fails_on_fails_for_all_and_is_tried_once(service: Running) -> None:
    calls = await held(service, CAT, CAT)
    failing(service, 9, Internal())
    release(service)
    for each in calls:
        with pytest.raises(AssertionError, match="INTERNAL"):
            await each
    assert len(service.pool.computed) == 1


async def test_a_bad_picture_is_decoded_once_and_each_call_is_told_its_own_field(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = pb.Image(content=PICTURE.images[0].content[:60])
    decoded = counting_decodes(service, monkeypatch, bad.content)
    alone, second = pb.EmbedImageRequest(images=[bad]), pb.EmbedImageRequest(images=[*PICTURE.images, bad])
    one, other = await asyncio.gather(*(service.refusal("EmbedImage", each) for each in (alone, second)))
    assert (one.paths, other.paths) == (["images[0].content"], ["images[1].content"])
    assert decoded.count(bad.content) == 1
    assert service.pool.computed == []


async def test_interactive_work_does_not_join_bulk_work(service: Running) -> None:
    calls = await held(service, BULK_CAT, CAT, BULK_CAT)
    release(service)
    await asyncio.gather(*calls)
    assert service.pool.priorities == [Priority.BULK, Priority.INTERACTIVE]


async def test_a_hit_reaches_neither_worker_nor_decoder_and_is_the_same_to_the_bit(
    caching: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counting_decodes(caching, monkeypatch)
    texts = pb.EmbedTextRequest(texts=["a cat", LONG])
    for method, request in (("EmbedText", texts), ("EmbedImage", PICTURE)):
        miss, hit = [await caching.call(method, request) for _ in range(2)]
        assert hit.timings.batch_size == 0
        hit.timings.CopyFrom(miss.timings)
        assert hit == miss, "embeddings, token counts and cut texts"
    assert len(caching.pool.computed) == 3
    assert len(decoded) == 1
    assert caching.metrics.cache_lookups.value("miss") == 3
    assert caching.metrics.cache_lookups.value("hit") == 3
    assert counted(caching)["ok"] == 4


async def test_a_hit_serves_every_encoding_of_the_raw_row(caching: Running) -> None:
    async with running() as fresh:
        for encoding in (pb.ENCODING_FLOAT32, pb.ENCODING_FLOAT16, pb.ENCODING_INT8, pb.ENCODING_BINARY):
            for normalize in (True, False):
                options = pb.EmbeddingOptions(encoding=encoding, normalize=normalize)
                request = pb.EmbedTextRequest(texts=["a cat"], options=options)
                hit, computed = [await each.call("EmbedText", request) for each in (caching, fresh)]
                assert hit.embeddings == computed.embeddings
    assert len(caching.pool.computed) == 1


async def test_a_cut_text_is_rejected_also_where_it_is_known(caching: Running) -> None:
    await caching.call("EmbedText", pb.EmbedTextRequest(texts=[LONG]))
    strict = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)
    refused = await caching.refusal("EmbedText", pb.EmbedTextRequest(texts=["a", LONG], options=strict))
    assert (refused.reason, refused.paths) == ("TEXT_TOO_LONG", ["texts[1]"])


async def test_who_rejects_a_cut_text_does_not_disturb_who_takes_it(service: Running) -> None:
    (taken,) = await held(service, pb.EmbedTextRequest(texts=[LONG]))
    strict = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)
    await service.refusal("EmbedText", pb.EmbedTextRequest(texts=[LONG], options=strict))
    release(service)
    assert list((await taken).truncated) == [0]
    assert counted(service) == {"ok": 1, "failed": 0, "cancelled": 0}


async def test_prompt_states_and_other_weights_are_other_contents(caching: Running) -> None:
    await caching.call("EmbedText", CAT)
    for states in (pb.PROMPT_STATES_ALTDIFFUSION, pb.PROMPT_STATES_ALTCLIP):
        request = pb.EncodePromptRequest(texts=["a cat"], states=states)
        assert len({(await caching.call("EncodePrompt", request)).data for _ in range(2)}) == 1
    caching.pool.weights_sha256 = "f" * 64
    await caching.call("EmbedText", CAT)
    kinds = [(item.modality, item.variant) for item in caching.pool.computed]
    assert kinds == [(Modality.TEXT, 0), (Modality.PROMPT, 0), (Modality.PROMPT, 1), (Modality.TEXT, 0)]


async def test_failures_are_not_kept(caching: Running) -> None:
    failing(caching, 1, Internal())
    await caching.refusal("EmbedText", CAT)
    await caching.call("EmbedText", CAT)
    assert len(caching.pool.computed) == 2


async def test_nothing_is_kept_before_the_weights_are_known(caching: Running) -> None:
    caching.pool.weights_sha256 = ""
    for _ in range(2):
        await caching.call("EmbedText", CAT)
    assert len(caching.pool.computed) == 2
    assert caching.metrics.cache_lookups.value("miss") == 0
