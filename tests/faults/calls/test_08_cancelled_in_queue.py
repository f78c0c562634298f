"""8. The client cancels while queued: the item never reaches the encoder; its slot is free."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import computed, open_stub, service
from tests.server import RunningServer, until


class Stub(NamedTuple):
    """calls: what its encoder computed. hold: while this file is there, it ends no batch."""

    server: RunningServer
    calls: Path
    hold: Path


def in_use(server: RunningServer) -> float:
    return server.metric("altclip_slots_in_use", modality="text")


def waiting(server: RunningServer) -> float:
    return server.metric("altclip_queue_depth", modality="text")


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    folder = tmp_path_factory.mktemp("stub")
    calls, hold = folder / "calls", folder / "hold"
    with service(f"m=stub:dimension=8,hold={hold},calls={calls}") as server:
        yield Stub(server, calls, hold)


def test_08_what_its_caller_took_back_never_reaches_the_encoder(stub: Stub) -> None:
    server, calls, hold = stub
    numbers = itertools.count()
    with open_stub(server) as client:

        def send(count: int) -> list[object]:
            # All different: equal texts that are under way are computed once.
            texts = [[f"{next(numbers)} {letter}" for letter in "abc"] for _ in range(count)]
            return [client.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=60) for each in texts]

        def items(outcome: str) -> float:
            return server.metric("altclip_items_total", outcome=outcome)

        before, ok, cancelled = len(computed(calls)), items("ok"), items("cancelled")
        hold.touch()
        (running,) = send(1)
        until(lambda: len(computed(calls)) > before, what="the device is busy")
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
        assert computed(calls)[before:] == [3, 12]
        until(lambda: in_use(server) == 0, what="all slots are free")
        assert items("cancelled") - cancelled == 18
        assert items("ok") - ok == 15


def test_08_a_client_that_goes_away_takes_its_work_along(stub: Stub) -> None:
    server, calls, hold = stub
    with open_stub(server) as client:
        before = len(computed(calls))
        hold.touch()
        running = client.EmbedText.future(pb.EmbedTextRequest(texts=["a"]), timeout=60)
        until(lambda: len(computed(calls)) > before, what="the device is busy")
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
        assert computed(calls)[before:] == [1]
