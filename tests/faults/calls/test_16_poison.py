"""16. A poison item that fails its batch: found by bisection, and its neighbours equal their solo runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.checkpoints import TEXTS
from tests.faults.harness import BUGS, Failure, crew, embed, failure_of, open_stub, service
from tests.server import RunningServer, until
from worker.arrays import Floats
from worker.models.sources import BUNDLED

SAME = 0.99999
POISON = "a text with venom in it"
NEIGHBOURS = [f"{number} {text}" for number, text in enumerate([*TEXTS, *TEXTS, *TEXTS][:31])]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poison") / "batches"
    path.touch()
    return path


@pytest.fixture(scope="module")
def poisoned(batches: Path) -> Iterator[RunningServer]:
    """The bundled model, with a word that it cannot bear. A poison item ends no process."""
    environment = {**BUGS, "TEST_BATCHES": str(batches)}
    with service(f"m={BUNDLED}", environment=environment) as running:
        before = crew(running)
        yield running
        assert crew(running) == before
        assert running.metric("altclip_worker_restarts_total") == 0


@pytest.fixture(scope="module")
def solo(server: RunningServer) -> Floats:
    """Each neighbour alone, by a service that never saw the poison."""
    with open_stub(server) as stub:
        return np.stack([vector(embed(stub, text)) for text in NEIGHBOURS])


def vector(answer: pb.EmbedTextResponse) -> Floats:
    return np.frombuffer(answer.embeddings.data, "<f4")


def check(rows: Sequence[Floats], expected: Floats) -> None:
    found = np.stack(rows)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(axis=1) / lengths).min() >= SAME


def ran(batches: Path, start: int) -> tuple[list[int], list[int]]:
    """How many items the batches had that failed, and those that did not."""
    lines = [line.split() for line in batches.read_text().splitlines()[start:]]
    sizes: tuple[list[int], list[int]] = ([], [])
    for _, items, _, operations in lines:
        sizes[operations != "0"].append(int(items))
    return sizes


def test_16_it_is_found_by_bisection_and_only_its_item_fails(
    poisoned: RunningServer, batches: Path, solo: Floats
) -> None:
    start, logged = len(batches.read_text().splitlines()), len(poisoned.logs.records)
    texts = [*NEIGHBOURS[:20], POISON, *NEIGHBOURS[20:]]
    items = [pb.StreamItem(id=str(number), text=text) for number, text in enumerate(texts)]
    requests = [
        pb.EmbedStreamRequest(config=pb.StreamConfig()),
        pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)),
    ]
    rows: dict[str, Floats] = {}
    errors: list[pb.StreamError] = []
    with open_stub(poisoned) as stub:
        for answer in stub.EmbedStream(iter(requests), timeout=60):
            block = np.frombuffer(answer.embeddings.data, "<f4").reshape(len(answer.ids), -1)
            rows.update(zip(answer.ids, block, strict=True))
            errors += answer.errors
    failed, good = ran(batches, start)
    assert failed == [32, 16, 8, 4, 2, 1]
    assert sorted(good) == [1, 2, 4, 8, 16]
    (error,) = errors
    assert (error.id, error.status.code) == ("20", grpc.StatusCode.INTERNAL.value[0])
    assert not any(word in str(error) for word in ("secret", "Error(", ".py", "Traceback"))
    check([rows[str(number)] for number in range(32) if number != 20], solo)
    told = poisoned.logs.wait_for("item_failed", start=logged)
    assert "RuntimeError" in told["traceback"]


def test_16_callers_that_shared_its_batch_do_not_notice(
    poisoned: RunningServer, batches: Path, solo: Floats
) -> None:
    """They all come while the worker stands still, so that it finds them together."""
    start = len(batches.read_text().splitlines())
    (worker,) = poisoned.processes("altclip-worker")

    def call(text: str) -> Floats | Failure:
        try:
            return vector(embed(stub, text, seconds=30))
        except grpc.RpcError as error:
            return failure_of(error)

    with open_stub(poisoned) as stub, ThreadPoolExecutor(32) as threads:
        worker.suspend()
        answers = [threads.submit(call, text) for text in [*NEIGHBOURS, POISON]]
        until(lambda: poisoned.metric("altclip_slots_in_use") == 32, what="all are queued")
        worker.resume()
        *neighbours, poison = [answer.result() for answer in answers]
    assert isinstance(poison, Failure)
    assert (poison.code, poison.reason) == ("INTERNAL", "INTERNAL")
    assert not any(word in poison.sent for word in ("secret", "Error(", ".py", "Traceback"))
    check([each for each in neighbours if not isinstance(each, Failure)], solo)
    failed, good = ran(batches, start)
    assert failed[0] > 1
    assert failed[-1] == 1
    assert sum(good) == 31
    assert poisoned.metric("altclip_items_total", outcome="ok") == 62
    assert poisoned.metric("altclip_items_total", outcome="failed") == 2
