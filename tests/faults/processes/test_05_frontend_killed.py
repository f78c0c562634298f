"""5. A killed frontend: it is replaced, its jobs are dropped, and no count is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest

from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import computed, embed, idle, open_stub, replacing, service, worker_of
from tests.server import until
from tests.soak.watching import shared_memory


def test_05_a_dead_frontend_is_replaced_and_no_counter_falls() -> None:
    with service("m=stub:dimension=8", "--frontends=2") as server:
        sent = 0
        for _ in range(6):
            with open_stub(server) as stub:
                embed(stub, "a", "b")
            sent += 1
        before = {process.pid for process in server.processes("altclip-frontend")}
        assert len(before) == 2
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        with replacing(server):
            server.processes("altclip-frontend 0")[0].kill()
        after = {process.pid for process in server.processes("altclip-frontend")}
        assert len(after & before) == 1
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        for _ in range(12):
            with open_stub(server) as stub:
                embed(stub, "a", "b")
            sent += 1
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        assert server.metric("altclip_items_total", modality="text", outcome="ok") == 2 * sent
        assert server.metric("altclip_worker_restarts_total") == 0
        assert server.metric("altclip_frontend_restarts_total") == 1


def test_05_what_a_dead_frontend_had_queued_is_never_computed(tmp_path: Path) -> None:
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    source = f"m=stub:dimension=8,hold={hold},calls={calls}"
    with service(source, "--batch-tokens=3") as server, open_stub(server) as stub:
        hold.touch()
        texts = [" ".join([letter] * 70) for letter in "abcdefghijkl"]
        caller = threading.Thread(target=lambda: _fails(stub, *texts))
        caller.start()
        until(lambda: server.metric("altclip_queue_depth") > 4, what="a queue")
        (frontend,) = server.processes("altclip-frontend")
        with replacing(server):
            frontend.kill()
            until(lambda: server.metric("altclip_queue_depth") == 0, what="an empty queue")
            begun = len(computed(calls))
            caller.join(60)
            hold.unlink()
        with open_stub(server) as another:
            assert embed(another).embeddings.count == 1
        assert len(computed(calls)) == begun + 1 < len(texts)
        idle(server)


def test_05_an_idle_worker_gives_back_the_memory_of_a_dead_frontend(tmp_path: Path) -> None:
    # It has a page for its metrics, and memory that it shares with the one frontend.
    hold = tmp_path / "hold"
    with service(f"m=stub:dimension=8,poison=bad,hold={hold}", "--batch-tokens=3") as server:
        for _ in range(2):
            # A decoder that is just being started still bears its frontend's title.
            frontend = min(server.processes("altclip-frontend"), key=lambda process: process.create_time())
            with replacing(server), open_stub(server) as stub:
                embed(stub, "good")
                _fails(stub, "bad")
                hold.touch()
                queued = threading.Thread(
                    target=_fails, args=(stub, *(f"{letter} " * 70 for letter in "abcdef"))
                )
                queued.start()
                until(lambda: server.metric("altclip_queue_depth") > 0, what="a queue")
                frontend.kill()
                queued.join(60)
                hold.unlink()
            until(
                lambda: len(shared_memory(worker_of(server).pid)) == 2,
                what="the memory given back",
            )


def _fails(stub: EmbeddingServiceStub, *texts: str) -> None:
    with pytest.raises(grpc.RpcError):
        embed(stub, *texts)
