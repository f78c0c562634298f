"""A stream's pace: it is bounded by its client, and its answers come as they are ready."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import grpc

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.running import Running, eventually, running
from tests.service.streaming import CONFIG, run, texts
from worker.runtime.notices import Modality


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
        await eventually(lambda: service.pool.computed)
        before = await standing_still(lambda: len(service.pool.computed))
        assert before < 2000, "it computes on although nobody takes the answers"
        # Others do not notice.
        await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"]), timeout=60)
        # Once answers are taken it goes on.
        taken = 0
        while taken < before + 500:
            message = await call.read()
            taken += len(message.ids)
        sending.cancel()
        call.cancel()
        await eventually(lambda: service.server.core.gate.active == 0)


async def standing_still(count: Callable[[], int]) -> int:
    """The count, once it has not grown for a second, or is far too high."""
    last = 0
    while last < count() < 2000:
        last = count()
        await asyncio.sleep(1.0)
    return count()


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
        message = await asyncio.wait_for(call.read(), 60)
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
        answers = await asyncio.wait_for(stream_sizes(service), 60)
        assert max(answers) <= 2 << 20
        assert sum(answers) > 30 << 20


async def stream_sizes(service: Running) -> list[int]:
    call = service.stream()
    await call.write(CONFIG)
    await call.write(texts(range(1000)))
    await call.done_writing()
    return [message.ByteSize() async for message in call]
