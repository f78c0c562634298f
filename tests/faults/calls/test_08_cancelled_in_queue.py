"""8. The client cancels while queued: the item never reaches the encoder; its slot is free."""

from __future__ import annotations

import itertools
from pathlib import Path

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import computed, open_stub, service
from tests.server import RunningServer, until


def in_use(server: RunningServer) -> float:
    return server.metric("altclip_slots_in_use", modality="text")


def waiting(server: RunningServer) -> float:
    return server.metric("altclip_queue_depth", modality="text")


def test_08_what_its_caller_took_back_never_reaches_the_encoder(tmp_path: Path) -> None:
    path, hold = tmp_path / "calls", tmp_path / "hold"
    numbers = itertools.count()
    with service(f"m=stub:dimension=8,hold={hold},calls={path}") as server, open_stub(server) as stub:

        def send(count: int) -> list[object]:
            # All different: equal texts that are under way are computed once.
            texts = [[f"{next(numbers)} {letter}" for letter in "abc"] for _ in range(count)]
            return [stub.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=60) for each in texts]

        before = len(computed(path))
        hold.touch()
        (running,) = send(1)
        until(lambda: len(computed(path)) > before, what="the device is busy")
        kept, given_up = send(4), send(6)
        until(lambda: waiting(server) == 30, what="all are queued")
        for call in given_up:
            call.cancel()  # type: ignore[attr-defined]
        # Their slots are free while the batch before them still runs.
        until(lambda: in_use(server) == 15, what="slots are free")
        assert not running.done()  # type: ignore[attr-defined]
        hold.unlink()
        for call in [running, *kept]:
            assert call.result().embeddings.count == 3  # type: ignore[attr-defined]
        assert computed(path)[before:] == [3, 12]
        until(lambda: in_use(server) == 0, what="all slots are free")
        assert server.metric("altclip_items_total", outcome="cancelled") == 18
        assert server.metric("altclip_items_total", outcome="ok") == 15


def test_08_a_client_that_goes_away_takes_its_work_along(tmp_path: Path) -> None:
    path, hold = tmp_path / "calls", tmp_path / "hold"
    with service(f"m=stub:dimension=8,hold={hold},calls={path}") as server, open_stub(server) as stub:
        before = len(computed(path))
        hold.touch()
        running = stub.EmbedText.future(pb.EmbedTextRequest(texts=["a"]), timeout=60)
        until(lambda: len(computed(path)) > before, what="the device is busy")
        with open_stub(server) as other:
            call = other.EmbedText.future(
                pb.EmbedTextRequest(texts=[f"b {n}" for n in range(50)]), timeout=60
            )
            until(lambda: waiting(server) == 50, what="all are queued")
        assert not call.running()  # the connection is closed
        until(lambda: in_use(server) == 1, what="its slots are free")
        hold.unlink()
        assert running.result().embeddings.count == 1
        until(lambda: in_use(server) == 0, what="all slots are free")
        assert computed(path)[before:] == [1]
