"""14. A client that stops reading its stream: memory stays bounded, reading pauses, others are unaffected."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import grpc
import psutil
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import all_started, crew, embed, open_stub, service
from tests.server import RunningServer, until

DIMENSION, COUNT, MESSAGE = 2048, 8_000, 100
STREAMS = 4
"""Each has 17 MB to send and 66 MB to get."""
CAP = 120 << 20
"""For all of them together, who would fill three times as much."""
TEXT = "so many words " * 140


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Nobody is replaced, whoever stands still. A stream takes most of a second, however fast the machine."""
    with service(f"m=stub:dimension={DIMENSION},per_item=0.0001") as running:
        all_started(running)
        before = crew(running)
        yield running
        assert crew(running) == before


READER = """
import os, signal, sys, grpc
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.calls.test_14_slow_reader import Stalled
with grpc.insecure_channel(sys.argv[1]) as channel:
    stream = Stalled(EmbeddingServiceStub(channel))
    first = next(stream.call)
    os.kill(os.getpid(), signal.SIGSTOP)  # by itself: from outside it may come too late
    print(len(stream.read_on(first)), flush=True)
"""


class Stalled:
    """A stream whose answers are not read until it is told to; it sends as fast as it may."""

    def __init__(self, stub: Any) -> None:
        self.sent = 0
        self.call = stub.EmbedStream(self._requests(), timeout=120)

    def _requests(self) -> Iterator[pb.EmbedStreamRequest]:
        yield pb.EmbedStreamRequest(config=pb.StreamConfig())
        for start in range(0, COUNT, MESSAGE):
            items = [
                pb.StreamItem(id=str(number), text=f"{number} {TEXT}")
                for number in range(start, start + MESSAGE)
            ]
            self.sent += MESSAGE
            yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))

    def read_on(self, *taken: pb.EmbedStreamResponse) -> set[str]:
        """Takes all answers, after those that were taken before; the ids."""
        found: list[str] = []
        for answer in chain(taken, self.call):
            assert not answer.errors
            assert len(answer.embeddings.data) == 4 * DIMENSION * len(answer.ids)
            found += answer.ids
        assert self.call.code() is grpc.StatusCode.OK
        assert len(found) == COUNT
        return set(found)


def memory(server: RunningServer) -> int:
    """Of all processes together; what they share is counted once for each."""
    return sum(process.memory_info().rss for process in server.processes(""))


def computed(server: RunningServer) -> float:
    return server.metric("altclip_items_total", outcome="ok")


def stands_still(server: RunningServer, streams: list[Stalled]) -> None:
    """Returns once nothing more was read or computed for a while."""
    last: tuple[float, ...] = ()
    since = began = time.monotonic()
    while time.monotonic() - since < 1.5:
        now = (computed(server), *(stream.sent for stream in streams))
        if now != last:
            last, since = now, time.monotonic()
        assert time.monotonic() - began < 60, "it reads on and on"
        time.sleep(0.05)


def others_are_served(server: RunningServer, stub: Any) -> None:
    """Calls, a stream that is read, and whoever asks for readiness or numbers."""
    for number in range(50):
        assert embed(stub, f"other {number}", seconds=10.0).embeddings.count == 1
    requests = [pb.EmbedStreamRequest(config=pb.StreamConfig())]
    for start in range(0, 2000, 100):
        items = [pb.StreamItem(id=str(n), text=f"another {n}") for n in range(start, start + 100)]
        requests.append(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
    answers = list(stub.EmbedStream(iter(requests), timeout=20))
    assert sum(len(answer.ids) for answer in answers) == 2000
    assert server.get("/readyz")[0] == 200
    # Not at every moment: a stream that goes on may just have read more.
    until(lambda: server.metric("altclip_queue_depth") == 0, seconds=30, what="nothing waits for the worker")


def test_14_memory_stays_bounded_reading_pauses_and_others_are_unaffected(server: RunningServer) -> None:
    with ExitStack() as stack:
        other, *stubs = [stack.enter_context(open_stub(server)) for _ in range(1 + STREAMS)]
        others_are_served(server, other)
        base, done = memory(server), computed(server)
        streams = [Stalled(stub) for stub in stubs]
        until(
            lambda: computed(server) > done and all(stream.sent for stream in streams),
            what="the streams are under way",
        )
        stands_still(server, streams)
        assert all(0 < stream.sent < COUNT / 2 for stream in streams), "reading pauses"
        assert 0 < computed(server) - done < STREAMS * COUNT / 2
        assert memory(server) - base < CAP
        others_are_served(server, other)
        assert memory(server) - base < CAP
        # Whoever reads on loses nothing; who leaves is forgotten.
        assert streams[0].read_on() == set(map(str, range(COUNT)))
        assert memory(server) - base < CAP
        for stream in streams[1:]:
            stream.call.cancel()
        until(
            lambda: server.metric("altclip_requests_total", code="CANCELLED") == STREAMS - 1,
            what="the streams that were left have ended",
        )


def test_14_nor_does_a_client_whose_whole_process_stands_still_harm_anyone(server: RunningServer) -> None:
    """Not even its transport takes anything: answers and acknowledgements stay with the server."""
    with ExitStack() as stack:
        stub = stack.enter_context(open_stub(server))
        others_are_served(server, stub)  # what the first answers take stays
        base, done = memory(server), computed(server)
        command = [sys.executable, "-c", READER, server.grpc]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        try:
            assert process.stdout is not None
            reader = psutil.Process(process.pid)
            until(
                lambda: reader.status() == psutil.STATUS_STOPPED, seconds=60, what="the client stands still"
            )
            stands_still(server, [])
            assert computed(server) > done
            assert computed(server) - done < COUNT / 2
            assert memory(server) - base < CAP / STREAMS
            others_are_served(server, stub)
            reader.resume()
            assert process.stdout.readline() == f"{COUNT}\n"
        finally:
            process.kill()
