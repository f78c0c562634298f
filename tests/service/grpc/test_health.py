"""Health follows the models; reflection describes the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2 as pb
from grpc_reflection.v1alpha import reflection_pb2

from tests.service.running import Running, health, running

SERVING, NOT_SERVING, UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"
ALL = ("", "altclip.v1.EmbeddingService", "altclip.v1.ModelService")


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running("a", "b") as made:
        yield made


def name(answer: pb.HealthCheckResponse) -> str:
    return pb.HealthCheckResponse.ServingStatus.Name(answer.status)


async def check(service: Running, what: str) -> str:
    return name(await health(service).Check(pb.HealthCheckRequest(service=what)))


async def test_everything_serves_when_every_model_is_ready(service: Running) -> None:
    for what in (*ALL, "altclip.v1.EmbeddingService/a", "altclip.v1.EmbeddingService/b"):
        assert await check(service, what) == SERVING


async def test_one_model_without_a_worker_takes_all_but_the_other_model_down(service: Running) -> None:
    service.pools.get("b").ready = False
    for what in (*ALL, "altclip.v1.EmbeddingService/b"):
        assert await check(service, what) == NOT_SERVING
    assert await check(service, "altclip.v1.EmbeddingService/a") == SERVING


async def test_an_unknown_service_is_not_found(service: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(service, "nobody")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_sees_every_change(service: Running) -> None:
    watch = health(service).Watch(pb.HealthCheckRequest(service=""))
    assert name(await watch.read()) == SERVING
    service.pools.get("a").ready = False
    assert name(await asyncio.wait_for(watch.read(), 60)) == NOT_SERVING
    service.pools.get("b").ready = False  # no change of the whole
    service.pools.get("b").ready = True
    service.pools.get("a").ready = True
    assert name(await asyncio.wait_for(watch.read(), 60)) == SERVING
    watch.cancel()


async def test_a_watcher_of_an_unknown_service_is_told_so(service: Running) -> None:
    watch = health(service).Watch(pb.HealthCheckRequest(service="nobody"))
    assert name(await watch.read()) == UNKNOWN
    watch.cancel()


async def test_all_states_can_be_listed(service: Running) -> None:
    raw = await service.channel.unary_unary("/grpc.health.v1.Health/List")(b"")
    listed = pb.HealthListResponse.FromString(raw)  # type: ignore[attr-defined]
    assert set(listed.statuses) == {*ALL, "altclip.v1.EmbeddingService/a", "altclip.v1.EmbeddingService/b"}


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_lists_the_services_and_their_methods(service: Running, package: str) -> None:
    call = service.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = await call.read()
    names = {each.name for each in listed.list_services_response.service}
    assert {*ALL[1:], "grpc.health.v1.Health", f"{package}.ServerReflection"} <= names
    for symbol in names:
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
        found = await call.read()
        (file,) = map(
            FileDescriptorProto.FromString, found.file_descriptor_response.file_descriptor_proto[:1]
        )
        assert symbol in {f"{file.package}.{each.name}" for each in file.service}
    await call.done_writing()
