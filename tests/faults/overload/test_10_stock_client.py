"""10. A stock gRPC client with the documented configuration comes again when it is told to."""

from __future__ import annotations

import time

import grpc

from altclip.channel import CHANNEL_OPTIONS
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import open_stub, service
from tests.server import until


def test_10_a_stock_client_is_answered_once_the_overload_is_over() -> None:
    four = pb.EmbedTextRequest(texts=["a", "b", "c", "d"])
    with (
        service("m=stub:dimension=8,service_time=2.0", "--max-queue-items=4") as server,
        open_stub(server) as other,
        grpc.insecure_channel(server.grpc, list(CHANNEL_OPTIONS)) as channel,
    ):
        stock = EmbeddingServiceStub(channel)
        assert other.EmbedText(four, timeout=10).embeddings.count == 4
        filling = other.EmbedText.future(four, timeout=10)
        until(lambda: server.metric("altclip_slots_in_use") == 4, seconds=1.9, what="a full queue")
        called = time.monotonic()
        answer = stock.EmbedText(pb.EmbedTextRequest(texts=["mine"]), timeout=20)
        assert answer.embeddings.count == 1
        assert filling.result().embeddings.count == 4
        # Not when its own configuration would have come again, after 0.2 s or less, but when it was told to.
        refused = server.metric("altclip_requests_total", method="EmbedText", code="RESOURCE_EXHAUSTED")
        assert 1 <= refused <= 2
        assert time.monotonic() - called > 0.7
