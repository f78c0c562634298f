"""EmbedStream through the running service, with a worker that is killed on the way."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.server import start_server, until
from worker.arrays import Floats

COUNT = 20_000


def messages(hold: Path, per_message: int = 100) -> Iterator[pb.EmbedStreamRequest]:
    """The second half is sent when the encoder waits for `hold` to go."""
    yield pb.EmbedStreamRequest(config=pb.StreamConfig())
    numbers = iter(range(COUNT))
    while chunk := list(itertools.islice(numbers, per_message)):
        if chunk[0] == COUNT // 2:
            hold.touch()
        items = [pb.StreamItem(id=str(number), text=f"text {number % 500}") for number in chunk]
        yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


def rows(answers: list[pb.EmbedStreamResponse]) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for answer in answers:
        block = np.frombuffer(answer.embeddings.data, "<f4").reshape(len(answer.ids), 16)
        found.update(zip(answer.ids, block, strict=True))
    return found


def test_a_killed_worker_costs_a_stream_nothing_but_time(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    source = f"m=stub:dimension=16,service_time=0.01,hold={hold}"
    with start_server("--model", source) as server, grpc.insecure_channel(server.grpc) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        alone = stub.EmbedText(pb.EmbedTextRequest(texts=[f"text {number}" for number in range(250)]))
        expected = np.frombuffer(alone.embeddings.data, "<f4").reshape(250, 16)
        answers: list[pb.EmbedStreamResponse] = []
        (worker,) = server.processes("altclip-worker")

        def kill() -> None:
            until(hold.exists, what="half of the items are sent")
            until(lambda: server.metric("altclip_oldest_inflight_seconds") > 0.1, what="a batch")
            worker.send_signal(signal.SIGKILL)
            hold.unlink()

        killer = threading.Thread(target=kill)
        killer.start()
        answers.extend(stub.EmbedStream(messages(hold), timeout=150))
        killer.join()
        assert not worker.is_running(), "the stream was over before the worker was killed"
        errors = [error for answer in answers for error in answer.errors]
        assert errors == []
        found = rows(answers)
        assert len(found) == COUNT
        for number in range(250):
            np.testing.assert_allclose(found[str(19_500 + number)], expected[number], atol=1e-6)
