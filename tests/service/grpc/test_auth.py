"""API keys through a real gRPC server: metadata, statuses, health without a key, names in metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.frontend.admission.admission import FIRST_RETRY_SECONDS
from service.frontend.grpc.auth import authorization
from tests.service.running import Running, health, running

SECRET = "the-secret-of-search"
KEY = (("authorization", f"Bearer {SECRET}"),)
TEXT = pb.EmbedTextRequest(texts=["cat"])


@asynccontextmanager
async def keyed(
    *limits: str, models: Iterable[str] = ("m",)
) -> AsyncIterator[tuple[Running, dict[str, bytes]]]:
    """A server with one caller, `search`; and its files."""
    files = {API_KEYS: line_of("search", SECRET, limits).encode()}
    async with running(*models, api_keys="/keys", files=files, callers=["search"]) as service:
        yield service, files


async def active(service: Running, number: int) -> None:
    """Once so many calls are under way."""
    while service.server.core.gate.active != number:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


def calls(service: Running, caller: str, code: str) -> float:
    return service.metrics.caller_requests.value(caller, code)


async def test_a_key_opens_and_its_name_is_counted() -> None:
    async with keyed() as (service, _):
        answer = await service.call("EmbedText", TEXT, metadata=KEY)
        assert answer.embeddings.count == 1
        assert calls(service, "search", "OK") == 1


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "Bearer wrong"),), (("authorization", f"Basic {SECRET}"),), (*KEY, *KEY)],
)
async def test_a_stranger_is_refused_and_told_nothing(metadata: Any) -> None:
    async with keyed() as (service, _):
        for method, request in (("EmbedText", TEXT), ("ListModels", models_pb.ListModelsRequest())):
            refused = await service.refusal(method, request, metadata=metadata)
            assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
            assert "search" not in refused.message
            assert service.requests(method, "UNAUTHENTICATED") == 1
        assert calls(service, "anonymous", "UNAUTHENTICATED") == 2
        assert service.pool.computed == []


async def test_a_strangers_message_is_never_read() -> None:
    """A client whose message does not fit a connection's window has its answer before it has sent all."""
    async with keyed() as (service, _):
        for _ in range(20):
            refused = await service.refusal("EmbedText", b"\xff" * (8 << 20))
            assert refused.code == "UNAUTHENTICATED"  # and not what is wrong with these bytes


async def test_health_needs_no_key() -> None:
    async with keyed() as (service, _):
        answer = await health(service).Check(health_pb2.HealthCheckRequest(service=""))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_stream_needs_a_key_too() -> None:
    async with keyed() as (service, _):
        stream = service.stream()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_used_up_quota_says_when_to_come_again_to_stock_clients_too() -> None:
    async with keyed("requests=1/h") as (service, _):
        await service.call("EmbedText", TEXT, metadata=KEY)
        refused = await service.refusal("EmbedText", TEXT, metadata=KEY)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert 3500 <= refused.retry_seconds <= 4600
        assert int(refused.trailers["grpc-retry-pushback-ms"]) == pytest.approx(
            refused.retry_seconds * 1000, abs=1
        )
        assert calls(service, "search", "RESOURCE_EXHAUSTED") == 1


async def test_items_have_a_quota_of_their_own() -> None:
    async with keyed("items=3/h") as (service, _):
        await service.call("EmbedText", pb.EmbedTextRequest(texts=["a"]), metadata=KEY)
        refused = await service.refusal("EmbedText", pb.EmbedTextRequest(texts=["a", "b"]), metadata=KEY)
        assert refused.reason == "QUOTA_EXCEEDED"
        assert service.server.core.model("").admission.in_flight == 0
        await service.call("ListModels", models_pb.ListModelsRequest(), metadata=KEY)


async def test_calls_at_once_are_limited_and_their_place_comes_back() -> None:
    async with keyed("concurrency=1") as (service, _):
        service.pool.hold = asyncio.Event()
        first = asyncio.create_task(service.call("EmbedText", TEXT, metadata=KEY))
        await active(service, 1)
        refused = await service.refusal("EmbedText", TEXT, metadata=KEY)
        assert refused.reason == "QUOTA_EXCEEDED"
        first.cancel()
        await active(service, 0)
        service.pool.hold = None
        await service.call("EmbedText", TEXT, metadata=KEY)


async def test_a_key_of_one_model_sees_only_that() -> None:
    async with keyed("models=two", models=("one", "two")) as (service, _):
        await service.call("EmbedText", pb.EmbedTextRequest(model="two", texts=["a"]), metadata=KEY)
        for name in ("", "one", "three"):
            request = pb.EmbedTextRequest(model=name, texts=["a"])
            refused = await service.refusal("EmbedText", request, metadata=KEY)
            assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        refused = await service.refusal("GetModel", models_pb.GetModelRequest(name="one"), metadata=KEY)
        assert refused.code == "PERMISSION_DENIED"
        listed = await service.call("ListModels", models_pb.ListModelsRequest(), metadata=KEY)
        assert [model.name for model in listed.models] == ["two"]
        stream = service.stream(metadata=KEY)
        await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig(model="one")))
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await stream.read()
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_changed_keys_count_from_the_next_call_and_the_next_message_of_a_stream() -> None:
    async with keyed() as (service, files):
        stream = service.stream(metadata=KEY)
        await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
        batch = pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[pb.StreamItem(id="a", text="cat")]))
        await stream.write(batch)
        assert (await stream.read()).ids == ["a"]
        files[API_KEYS] = line_of("newcomer", "another-secret").encode()
        service.server.file_changed(API_KEYS)
        refused = await service.refusal("EmbedText", TEXT, metadata=KEY)
        assert refused.code == "UNAUTHENTICATED"
        await service.call("EmbedText", TEXT, metadata=(("authorization", "Bearer another-secret"),))
        assert calls(service, "other", "OK") == 1
        await stream.write(batch)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_log_has_the_name_and_never_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with keyed() as (service, _):
        await service.refusal("EmbedText", pb.EmbedTextRequest(), metadata=KEY)
        await service.refusal("EmbedText", TEXT, metadata=(("authorization", "Bearer wrong-key"),))
    said = [vars(record).get("fields", {}) for record in caplog.records]
    assert any(fields.get("caller") == "search" for fields in said)
    assert any(fields.get("count") == 1 and "peer" in fields for fields in said)
    everything = caplog.text + str(said)
    assert SECRET not in everything
    assert "wrong-key" not in everything


async def test_a_server_whose_keys_never_came_does_not_start() -> None:
    with pytest.raises(KeyError):
        async with running(api_keys="/keys"):
            pass


def test_two_values_are_none() -> None:
    assert authorization(None) is None
    assert authorization([("x", "y")]) is None
    assert authorization([("authorization", "a"), ("x", "y")]) == "a"
    assert authorization([("authorization", "a"), ("authorization", "a")]) == ""


async def test_a_stream_over_its_quota_is_slowed_and_not_refused() -> None:
    async with keyed("items=100/s") as (service, _):
        stream = service.stream(metadata=KEY)
        await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
        started = time.monotonic()
        for number in range(3):
            items = [pb.StreamItem(id=f"{number}-{index}", text="cat") for index in range(60)]
            await stream.write(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
        await stream.done_writing()
        answers = [answer async for answer in stream]
        assert sum(len(answer.ids) for answer in answers) == 180
        assert not any(answer.errors for answer in answers)
        assert time.monotonic() - started > 0.7, "a hundred at once, and eighty more in 0.8 s"


async def test_a_caller_that_fills_the_queue_keeps_no_other_out() -> None:
    other = "the-secret-of-the-shop"
    lines = [line_of("search", SECRET, ()), line_of("shop", other, ())]
    files = {API_KEYS: "\n".join(lines).encode()}
    callers = ["search", "shop"]
    async with running(api_keys="/keys", files=files, callers=callers, max_queue_items=10) as service:
        service.pool.hold = asyncio.Event()
        theirs = (("authorization", f"Bearer {other}"),)

        def begin(metadata: Any) -> asyncio.Task[Any]:
            return asyncio.create_task(service.call("EmbedText", TEXT, metadata=metadata))

        tasks = [begin(KEY) for _ in range(7)]  # as long as it is alone
        await active(service, 7)
        tasks.append(begin(theirs))
        await active(service, 8)
        refused = await service.refusal("EmbedText", TEXT, metadata=KEY)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        tasks.append(begin(theirs))
        await active(service, 9)
        service.pool.hold.set()
        await asyncio.gather(*tasks)


async def test_refused_calls_do_not_shorten_what_others_are_told_to_wait() -> None:
    lines = [line_of("search", SECRET, ("items=1/h",)), line_of("shop", "another-secret", ())]
    files = {API_KEYS: "\n".join(lines).encode()}
    async with running(api_keys="/keys", files=files, max_queue_items=1) as service:
        invalid = await service.refusal("EmbedImage", pb.EmbedImageRequest(images=[pb.Image()]), metadata=KEY)
        assert invalid.reason == "INVALID_REQUEST"
        assert (await service.refusal("EmbedText", TEXT, metadata=KEY)).reason == "QUOTA_EXCEEDED"
        service.pool.hold = asyncio.Event()
        theirs = (("authorization", "Bearer another-secret"),)
        waiting = asyncio.create_task(service.call("EmbedText", TEXT, metadata=theirs))
        await active(service, 1)
        refused = await service.refusal("EmbedText", TEXT, metadata=theirs)
        assert refused.reason == "QUEUE_FULL"
        assert refused.retry_seconds >= 0.75 * FIRST_RETRY_SECONDS  # scattered; and no call has ended yet
        service.pool.hold.set()
        await waiting


async def test_connections_from_one_address_are_one_caller() -> None:
    async with running(max_queue_items=10) as service:
        service.pool.hold = asyncio.Event()
        tasks = [asyncio.create_task(service.call("EmbedText", TEXT)) for _ in range(5)]
        await active(service, 5)
        local = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(service.address, local) as channel:
            again: Any = channel.unary_unary("/altclip.v1.EmbeddingService/EmbedText")

            async def call() -> None:
                await again(TEXT.SerializeToString())

            tasks += [asyncio.create_task(call()) for _ in range(5)]
            await active(service, 10)
            service.pool.hold.set()
            await asyncio.gather(*tasks)
