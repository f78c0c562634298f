"""What the one wrapper promises of every call: an id, a status, a count, and no secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from service.frontend.admission.cost import Ticket
from service.frontend.api.errors import QueueFull
from service.frontend.calls.call import Call
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.calls.lifecycle import Lifecycle
from service.frontend.grpc.handlers import Handlers
from tests.service.running import EMBEDDING, Refused, Running, eventually, line, running, too_late
from worker.runtime.metrics import Metrics

TEXT = pb.EmbedTextRequest(texts=["a secret text"])
RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "300s",
                "maxBackoff": "300s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
            },
        }
    ]
}


async def trailers(service: Running, **options: Any) -> dict[str, Any]:
    stub = service.channel.unary_unary(f"/{EMBEDDING}/EmbedText")
    call = stub(TEXT.SerializeToString(), **options)
    await call
    return dict(await call.trailing_metadata() or ())


async def test_the_callers_request_id_comes_back(service: Running) -> None:
    given = (("x-request-id", "mine-1/2 3"),)
    assert (await trailers(service, metadata=given))["x-request-id"] == "mine-1/2 3"
    refused = await service.refusal("EmbedText", pb.EmbedTextRequest(), metadata=given)
    assert refused.trailers["x-request-id"] == "mine-1/2 3"


@pytest.mark.parametrize("given", [None, "", "x" * 129])
async def test_a_request_id_is_made_where_there_is_no_good_one(service: Running, given: str | None) -> None:
    metadata = () if given is None else (("x-request-id", given),)
    made = [(await trailers(service, metadata=metadata))["x-request-id"] for _ in range(2)]
    assert all(len(each) == 16 for each in made)
    assert made[0] != made[1]


async def test_a_stream_has_a_request_id_too(service: Running) -> None:
    stream = service.stream(metadata=(("x-request-id", "s"),))
    await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
    await stream.done_writing()
    assert [message async for message in stream] == []
    assert dict(await stream.trailing_metadata() or ())["x-request-id"] == "s"


async def test_a_bug_is_internal_and_only_the_log_knows_more(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    service.pool.crash = ZeroDivisionError("/etc/passwd and a secret text")
    with caplog.at_level(logging.DEBUG):
        refused = await service.refusal("EmbedText", TEXT, metadata=(("x-request-id", "find-me"),))
    assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")
    sent = f"{refused.message}{refused.trailers}{refused.status}"
    assert not any(word in sent for word in ("passwd", "ZeroDivision", "Traceback", ".py", "secret"))
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    (record,) = [record for record in errors if record.name.startswith("altclip")]
    logged = line(record)
    assert logged["exception"] == "builtins.ZeroDivisionError"
    assert "fake_pools.py" in logged["traceback"]
    assert "secret" not in str(logged)
    assert service.requests("EmbedText", "INTERNAL") == 1


async def test_a_cancelled_internal_future_still_ends_the_call(service: Running) -> None:
    service.pool.crash = asyncio.CancelledError()
    refused = await service.refusal("EmbedText", TEXT, timeout=60)
    assert (refused.code, refused.reason) == ("INTERNAL", "INTERNAL")
    assert service.requests("EmbedText", "INTERNAL") == 1


async def test_a_cancelled_internal_future_still_ends_a_stream(service: Running) -> None:
    service.pool.crash = asyncio.CancelledError()
    stream = service.stream(timeout=60)
    await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
    await stream.write(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[pb.StreamItem(id="1", text="a")])))
    await stream.done_writing()
    messages = [message async for message in stream]
    assert [error.status.code for message in messages for error in message.errors] == [13]


async def test_a_call_without_a_message_is_refused(service: Running) -> None:
    call = service.channel.stream_stream(f"/{EMBEDDING}/EmbedText")(timeout=60)
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    refused = Refused(ended.value)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert service.requests("EmbedText", "INVALID_ARGUMENT") == 1


async def test_a_call_that_is_cancelled_before_its_message_is_no_ones_mistake(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Call] = []

    def begin(lifecycle: Lifecycle, *given: Any, **more: Any) -> Call:
        begun.append(call := original(lifecycle, *given, **more))
        return call

    original = Lifecycle.begin
    monkeypatch.setattr(Lifecycle, "begin", begin)
    for number in range(1, 51):  # gRPC tells of the end of the request first, now and then much earlier
        call = service.channel.stream_stream(f"/{EMBEDDING}/EmbedText")(timeout=30)
        await eventually(lambda: len(begun) == number)  # noqa: B023 - it is called at once
        call.cancel()
    await eventually(lambda: service.metrics.request_duration.value("EmbedText", "cancelled") == 50)
    assert service.requests("EmbedText", "CANCELLED") == 50
    assert service.server.core.gate.active == 0


async def test_a_client_that_cancels_takes_its_work_back(service: Running) -> None:
    service.pool.hold = asyncio.Event()
    stub = service.channel.unary_unary(f"/{EMBEDDING}/EmbedText")
    call = stub(TEXT.SerializeToString())
    await eventually(lambda: service.pool.deadlines)
    call.cancel()
    await eventually(lambda: service.requests("EmbedText", "CANCELLED") == 1)
    assert len(service.pool.cancelled) == 1
    assert service.server.core.gate.active == 0
    assert service.server.core.model("").admission.in_flight == 0


async def test_a_deadline_that_passes_takes_the_work_back(service: Running) -> None:
    service.pool.hold = asyncio.Event()
    stub = service.channel.unary_unary(f"/{EMBEDDING}/EmbedText")

    async def call(seconds: float) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub(TEXT.SerializeToString(), timeout=seconds)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await too_late(service, call)
    await eventually(lambda: len(service.pool.cancelled) == len(service.pool.deadlines))
    await eventually(lambda: service.requests("EmbedText", "DEADLINE_EXCEEDED") >= 1)
    await eventually(lambda: service.metrics.request_duration.value("EmbedText", "cancelled") >= 1)
    assert service.server.core.gate.active == 0


async def test_the_deadline_reaches_the_pool(service: Running) -> None:
    await service.call("EmbedText", TEXT, timeout=500)
    await service.call("EmbedText", TEXT)
    first, second = service.pool.deadlines
    assert first is not None
    assert 400 < first - time.monotonic() < 510  # grpc rounds it up
    assert second is None


async def test_every_call_is_counted_by_its_code_and_timed_by_its_outcome(service: Running) -> None:
    for _ in range(3):
        await service.call("EmbedText", TEXT)
    await service.refusal("EmbedText", b"\xff")
    await service.call("ListModels", models_pb.ListModelsRequest())
    assert service.requests("EmbedText", "OK") == 3
    assert service.requests("EmbedText", "INVALID_ARGUMENT") == 1
    assert service.requests("ListModels", "OK") == 1
    assert service.metrics.request_duration.value("EmbedText", "ok") == 3
    assert service.metrics.request_duration.value("EmbedText", "failed") == 1


async def test_an_unknown_method_is_unimplemented(service: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.channel.unary_unary(f"/{EMBEDDING}/Nothing")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_full_queue_says_when_to_come_again() -> None:
    async with running(max_queue_items=2) as service:
        service.pool.hold = asyncio.Event()
        two = pb.EmbedTextRequest(texts=["a", "b"])
        waiting = asyncio.create_task(service.call("EmbedText", two))
        await eventually(lambda: service.pool.deadlines)
        refused = await service.refusal("EmbedText", TEXT)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert refused.retry_seconds > 0
        assert int(refused.trailers["grpc-retry-pushback-ms"]) == round(refused.retry_seconds * 1000)
        service.pool.hold.set()
        assert (await waiting).embeddings.count == 2


async def test_a_stock_client_obeys_the_pushback(monkeypatch: pytest.MonkeyPatch) -> None:
    retrying = (("grpc.service_config", json.dumps(RETRY)),)
    async with running(channel_options=retrying) as service:
        admission = service.server.core.model("").admission
        enter = admission.enter
        attempts: list[float] = []

        def full_at_first(*given: Any, **options: Any) -> Ticket:
            attempts.append(time.monotonic())
            if len(attempts) < 3:
                raise QueueFull(retry_after=0.2)
            return enter(*given, **options)

        monkeypatch.setattr(admission, "enter", full_at_first)
        await service.call("EmbedText", TEXT, timeout=120)
        # Its own backoff is 300 s: it came again because, and when, it was told to.
        assert attempts[1] - attempts[0] > 0.15


async def test_a_service_must_have_a_method_for_each_rpc() -> None:
    service = pb.DESCRIPTOR.services_by_name["EmbeddingService"]
    with pytest.raises(ValueError, match="EmbedStream"):
        Handlers(Gate(), Callers(), Metrics.local()).service(service, {})


async def test_refused_calls_leave_no_text_in_the_log(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    request = pb.ClassifyImageRequest(
        images=[pb.Image(uri="ftp://secret")], labels=["secret"], templates=["secret"]
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused):
        await service.call("ClassifyImage", request)
    logged = [vars(record).get("fields") for record in caplog.records if record.name.startswith("altclip")]
    assert logged
    assert "secret" not in str(logged)
