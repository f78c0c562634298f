"""Server reflection: what tools such as grpcurl ask for services and messages, in both of its versions.

The library has v1alpha only. v1 is the same protocol in another package, field by field, so one servicer
answers both.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["V1", "add"]

V1 = "grpc.reflection.v1.ServerReflection"
_METHOD = "ServerReflectionInfo"


def add(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Has the server tell of these services, and of reflection itself."""
    _describe_v1()
    names = (reflection.SERVICE_NAME, V1)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer((*services, *names)).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in names)
    )


def _describe_v1() -> None:
    """Makes v1 itself known, so that a tool can ask for its messages as well."""
    alpha, v1 = FileDescriptorProto(), FileDescriptorProto()
    for copy in (alpha, v1):
        reflection_pb2.DESCRIPTOR.CopyToProto(copy)
    v1.name = alpha.name.replace("v1alpha", "v1")
    v1.package = alpha.package.replace("v1alpha", "v1")
    for message in v1.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{alpha.package}.", f".{v1.package}.")
    for service in v1.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{alpha.package}.", f".{v1.package}.")
            method.output_type = method.output_type.replace(f".{alpha.package}.", f".{v1.package}.")
    descriptor_pool.Default().AddSerializedFile(v1.SerializeToString())
