"""The stubs of one channel, for both clients."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2_grpc

from altclip.calls import forking
from altclip.channel import Endpoint
from altclip.errors import InvalidArgument
from altclip.v1 import embedding_service_pb2_grpc, model_service_pb2_grpc


class Stubs:
    """What can be called over one channel.

    Args:
        endpoint: Where the service is.
        module: `grpc` or `grpc.aio`, whose channels have the same constructors.

    Raises ClientUnusable in a forked process in which gRPC does not work.
    """

    def __init__(self, endpoint: Endpoint, module: Any) -> None:
        forking.check()
        options = endpoint.channel_options()
        try:
            self.channel = (
                module.secure_channel(endpoint.address, endpoint.credentials, options)
                if endpoint.credentials
                else module.insecure_channel(endpoint.address, options)
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArgument.at("options", f"gRPC does not take them: {error}") from error
        self.embedding: Any = embedding_service_pb2_grpc.EmbeddingServiceStub(self.channel)
        self.models: Any = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)
