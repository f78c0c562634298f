"""One of two workers is killed: only what its device had begun fails, the rest is computed by the other."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import grpc

from tests.faults.harness import Holds, computed, embed, failure_of, open_stub, service
from tests.server import until


def test_what_was_only_queued_in_a_killed_worker_is_computed_by_the_other(tmp_path: Path) -> None:
    path, holds = tmp_path / "calls", Holds.of(tmp_path)
    ended: list[str] = []

    def begun() -> int:
        return len(computed(path))

    def call(text: str) -> None:
        try:
            embed(stub, text)
            ended.append("OK")
        except grpc.RpcError as error:
            ended.append(failure_of(error).reason)

    source = f"m=stub:dimension=8,{holds.options},calls={path}"
    with service(source, "--replicas=2") as server, open_stub(server) as stub:
        before = begun()  # the workers have measured their batches
        holds.batch.touch()
        holds.load.touch()
        calls = [threading.Thread(target=call, args=(f"text {number}",)) for number in range(20)]
        for thread in calls[:2]:
            thread.start()
        until(lambda: begun() == before + 2, what="both workers are busy with one text")
        for thread in calls[2:]:
            thread.start()
        until(lambda: server.metric("altclip_queue_depth", modality="text") == 18, what="a queue")
        server.processes("altclip-worker m")[0].kill()
        server.logs.wait_for("child_ended")
        holds.batch.unlink()
        for thread in calls:
            thread.join(60)
        assert Counter(ended) == {"OK": 19, "WORKER_UNAVAILABLE": 1}
        assert sum(computed(path)[before:]) == 20, "something was computed twice, or never"
        assert server.metric("altclip_items_total", outcome="ok") == 19
        assert server.metric("altclip_items_total", outcome="failed") == 1
        assert server.metric("altclip_items_accepted_total") == 20
