"""An RPC that is added to a proto and to a servicer is served and counted; no other list names it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from altclip.v1 import model_service_pb2 as pb
from service.config import rpcs
from service.frontend.calls.call import Call
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.grpc.handlers import Handlers, UnaryMethod
from worker.runtime.metrics import Layout, Metrics

NAME = "altclip.tests.NewService"


@pytest.fixture(scope="module")
def new_service() -> ServiceDescriptor:
    """A service with one RPC, `CountModels`, as protoc would describe it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="altclip/tests/new_service.proto",
        package="altclip.tests",
        dependency=[pb.DESCRIPTOR.name],
        service=[
            descriptor_pb2.ServiceDescriptorProto(
                name="NewService",
                method=[
                    descriptor_pb2.MethodDescriptorProto(
                        name="CountModels",
                        input_type=".altclip.v1.ListModelsRequest",
                        output_type=".altclip.v1.ListModelsResponse",
                    )
                ],
            )
        ],
    )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    described: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(NAME)
    return described


async def count_models(request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
    return pb.ListModelsResponse(models=[pb.Model(name="m")])


@asynccontextmanager
async def served(service: ServiceDescriptor, metrics: Metrics) -> AsyncIterator[Any]:
    """The new RPC, as a client calls it."""
    methods: Mapping[str, UnaryMethod] = {"CountModels": (pb.ListModelsRequest, count_models)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(Gate(), Callers(), metrics).service(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.unary_unary(
                f"/{NAME}/CountModels",
                request_serializer=pb.ListModelsRequest.SerializeToString,
                response_deserializer=pb.ListModelsResponse.FromString,
            )
    finally:
        await server.stop(0)


async def test_a_new_rpc_is_counted_by_its_descriptor(new_service: ServiceDescriptor) -> None:
    methods = rpcs.method_names([*rpcs.SERVICES, new_service])
    metrics = Metrics.local(Layout(("m",), ("cpu",), methods=methods, codes=rpcs.CODES))
    async with served(new_service, metrics) as count:
        assert len((await count(pb.ListModelsRequest())).models) == 1
        assert metrics.requests.value("CountModels", "OK") == 1
        assert metrics.request_duration.value("CountModels", "ok") == 1


async def test_an_rpc_that_the_metrics_do_not_know_is_answered_all_the_same(
    new_service: ServiceDescriptor, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics.local(Layout(("m",), ("cpu",), methods=rpcs.METHODS, codes=rpcs.CODES))
    async with served(new_service, metrics) as count:
        assert len((await count(pb.ListModelsRequest())).models) == 1
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [vars(record)["event"] for record in errors if record.name.startswith("altclip")] == [
        "call_not_counted"
    ]


def test_the_codes_are_those_of_grpc() -> None:
    assert set(rpcs.CODES) == {code.name for code in grpc.StatusCode}


def test_every_rpc_of_the_protos_has_a_name_of_its_own() -> None:
    assert len(set(rpcs.METHODS)) == len(rpcs.METHODS)
