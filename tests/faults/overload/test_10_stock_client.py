"""10. A stock gRPC client with the documented configuration comes again when it is told to."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

from altclip.channel import CHANNEL_OPTIONS
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import open_stub, service
from tests.server import until


def test_10_a_stock_client_is_answered_once_the_overload_is_over(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    four = pb.EmbedTextRequest(texts=["a", "b", "c", "d"])
    with (
        service(f"m=stub:dimension=8,service_time=1.0,hold={hold}", "--max-queue-items=4") as server,
        open_stub(server) as other,
        grpc.insecure_channel(server.grpc, list(CHANNEL_OPTIONS)) as channel,
    ):

        def refused() -> float:
            return server.metric("altclip_requests_total", method="EmbedText", code="RESOURCE_EXHAUSTED")

        stock = EmbeddingServiceStub(channel)
        assert other.EmbedText(four, timeout=60).embeddings.count == 4
        hold.touch()
        filling = other.EmbedText.future(four, timeout=60)
        until(lambda: server.metric("altclip_items_accepted_total") == 8, what="a full queue")
        called = time.monotonic()
        asking = stock.EmbedText.future(pb.EmbedTextRequest(texts=["mine"]), timeout=60)
        until(lambda: refused() > 0, what="it is refused")
        hold.unlink()
        assert asking.result().embeddings.count == 1
        took = time.monotonic() - called
        assert filling.result().embeddings.count == 4
        # Not when its own configuration would have come again, after 0.2 s or less, but when it was told to.
        assert took > 0.7 * refused()
