"""9. A deadline shorter than the expected wait: refused at once; what expires is dropped before batching."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import computed, embed, failure_of, open_stub, service
from tests.server import until

TEXTS = [f"text {number}" for number in range(35)]
"""A full batch of 154 tokens, about."""


def test_09_a_deadline_shorter_than_the_expected_wait_is_refused_at_once() -> None:
    """The reason is the server's: a caller whose time runs out has none."""
    source = "m=stub:dimension=8,service_time=0.8"
    with service(source, "--batch-tokens=154") as server, open_stub(server) as stub:
        embed(stub, *TEXTS)  # it has seen what a batch takes
        others = [[text.replace("text", f"other{n}") for text in TEXTS] for n in range(5)]
        calls = [stub.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=30) for each in others]
        until(lambda: server.metric("altclip_queue_depth") > 100, seconds=20, what="four seconds of work")
        with pytest.raises(grpc.RpcError) as refused:
            embed(stub, "hurry", seconds=1.5)
        failure = failure_of(refused.value)
        assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
        assert embed(stub, "no hurry", seconds=20.0).embeddings.count == 1
        assert all(call.result().embeddings.count == len(TEXTS) for call in calls)
        # What was refused was never an item of the queue.
        assert server.metric("altclip_items_accepted_total") == 6 * len(TEXTS) + 1


def test_09_what_expires_in_the_queue_never_reaches_the_encoder(tmp_path: Path) -> None:
    path, hold = tmp_path / "calls", tmp_path / "hold"
    with service(f"m=stub:dimension=8,hold={hold},calls={path}") as server, open_stub(server) as stub:
        before = len(computed(path))
        hold.touch()
        running = stub.EmbedText.future(pb.EmbedTextRequest(texts=["a"]), timeout=20)
        until(lambda: len(computed(path)) > before, seconds=10, what="the device is busy")
        with pytest.raises(grpc.RpcError) as late:
            embed(stub, "b", "c", seconds=0.5)  # nobody knows yet how long a batch takes: it is let in
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: server.metric("altclip_queue_depth") == 0, seconds=10, what="its time is up there, too")
        hold.unlink()
        assert running.result().embeddings.count == 1
        assert embed(stub, "d").embeddings.count == 1
        assert computed(path)[before:] == [1, 1]
        assert server.metric("altclip_items_total", outcome="cancelled") == 2
