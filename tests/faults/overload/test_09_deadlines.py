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


def test_09_a_deadline_shorter_than_the_expected_wait_is_refused_at_once(tmp_path: Path) -> None:
    """The reason is the server's: a caller whose time runs out has none."""
    hold = tmp_path / "hold"
    source = f"m=stub:dimension=8,service_time=0.8,hold={hold}"
    with service(source, "--batch-tokens=154") as server, open_stub(server) as stub:

        def accepted() -> float:
            return server.metric("altclip_items_accepted_total")

        embed(stub, *TEXTS)  # it has seen what a batch takes
        hold.touch()  # the queue stands still until the test has seen enough
        others = [[text.replace("text", f"other{n}") for text in TEXTS] for n in range(5)]
        calls = [stub.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=60) for each in others]
        until(lambda: accepted() == 6 * len(TEXTS), what="four seconds of work")
        for _ in range(10):
            with pytest.raises(grpc.RpcError) as refused:
                embed(stub, "hurry", seconds=1.5)
            failure = failure_of(refused.value)
            if failure.reason:  # else a busy machine did not answer within the time
                break
        assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
        patient = stub.EmbedText.future(pb.EmbedTextRequest(texts=["no hurry"]), timeout=60)
        until(lambda: accepted() == 6 * len(TEXTS) + 1, what="who has time is let in")
        hold.unlink()
        assert patient.result().embeddings.count == 1
        assert all(call.result().embeddings.count == len(TEXTS) for call in calls)
        # What was refused was never an item of the queue.
        assert accepted() == 6 * len(TEXTS) + 1


def test_09_what_expires_in_the_queue_never_reaches_the_encoder(tmp_path: Path) -> None:
    path, hold = tmp_path / "calls", tmp_path / "hold"
    with service(f"m=stub:dimension=8,hold={hold},calls={path}") as server, open_stub(server) as stub:
        before = len(computed(path))
        hold.touch()
        running = stub.EmbedText.future(pb.EmbedTextRequest(texts=["a"]), timeout=60)
        until(lambda: len(computed(path)) > before, what="the device is busy")

        def items(outcome: str) -> float:
            return server.metric("altclip_items_total", outcome=outcome)

        # Who is late before it is heard comes again.
        while server.metric("altclip_items_accepted_total") == 1:
            with pytest.raises(grpc.RpcError) as late:
                embed(stub, "b", "c", seconds=0.5)  # nobody knows yet how long a batch takes: it is let in
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: server.metric("altclip_queue_depth") == 0, what="its time is up there, too")
        hold.unlink()
        assert running.result().embeddings.count == 1
        assert embed(stub, "d").embeddings.count == 1
        assert computed(path)[before:] == [1, 1]
        assert items("ok") == 2
        assert items("cancelled") == server.metric("altclip_items_accepted_total") - 2 > 0
