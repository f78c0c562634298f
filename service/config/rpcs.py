"""The services of the protos, and the names that gRPC calls are counted under. They stand in no other list.

The supervisor lays out the metrics by these names. The gRPC transport must serve every one of these RPCs.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import code_pb2

from altclip.v1 import embedding_service_pb2, model_service_pb2

__all__ = ["CODES", "METHODS", "SERVICES", "method_names"]

SERVICES: tuple[ServiceDescriptor, ...] = (
    embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
)


def method_names(services: Iterable[ServiceDescriptor]) -> tuple[str, ...]:
    """The short names of all RPCs, such as "EmbedText"."""
    return tuple(method.name for service in services for method in service.methods)


METHODS = method_names(SERVICES)
CODES: tuple[str, ...] = tuple(code_pb2.Code.keys())
"""The names of all gRPC status codes, "OK" first."""
