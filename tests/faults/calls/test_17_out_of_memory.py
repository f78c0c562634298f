"""17. Injected out-of-memory: split, succeed, the budget lowered and later recovered; the worker lives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.vectors import lengths, normalized
from tests.faults.harness import computed, crew, embed, failure_of, health, open_stub, service
from tests.server import RunningServer
from worker.families import family
from worker.models.sources import resolve

FULL = 64
"""Texts in a full batch: of one word they have three tokens."""
ROOM = 20
"""Texts in the largest batch that fits, while the device is short of memory."""
_numbers = itertools.count()


@contextmanager
def running(calls: Path, *options: str) -> Iterator[tuple[RunningServer, Any]]:
    """A service that lives through it all, and a client."""
    source = ",".join(["m=stub:dimension=8", f"calls={calls}", f"oom_over={ROOM}", *options])
    with service(source, f"--batch-tokens={3 * FULL}") as server, open_stub(server) as stub:
        before = crew(server)
        yield server, stub
        assert crew(server) == before
        assert server.metric("altclip_worker_restarts_total") == 0
        assert health(server) == "SERVING"


def texts(count: int = FULL) -> list[str]:
    """None twice."""
    return [f"w{number}" for number in itertools.islice(_numbers, count)]


def batches(calls: Path, during: Callable[[], object]) -> list[int]:
    """How many texts each batch held that was begun meanwhile."""
    start = len(computed(calls))
    during()
    return computed(calls)[start:]


def solo(texts: list[str]) -> bytes:
    """The embeddings of each text alone, as an encoder in this process gives them."""
    spec = resolve("m=stub:dimension=8")
    encoder, tokenizer = family("stub").load(spec, "cpu", "auto", 1), family("stub").tokenizer(spec)
    rows = np.concatenate([encoder.text([tokens.ids])() for tokens in tokenizer.encode(texts)])
    return normalized(rows, lengths(rows)).tobytes()


def warned(server: RunningServer) -> list[float]:
    return [record["scale"] for record in server.logs.records if record["event"] == "out_of_memory"]


def test_17_a_batch_that_does_not_fit_is_split_and_the_budget_recovers(tmp_path: Path) -> None:
    with running(tmp_path / "calls", "oom_times=2") as (server, stub):
        sent, answers = texts(), []
        ran = batches(tmp_path / "calls", lambda: answers.append(embed(stub, *sent)))
        # The whole, its first half, that half's halves, and its second half.
        assert ran == [64, 32, 16, 16, 32]
        assert answers[0].embeddings.data == solo(sent)
        assert answers[0].timings.batch_size == 32
        assert warned(server) == [0.5, 0.25]
        # A quarter of the budget, which every batch that fits makes larger by a fiftieth.
        largest = [max(batches(tmp_path / "calls", lambda: embed(stub, *texts()))) for _ in range(30)]
        assert 16 <= largest[0] <= 20
        assert largest == sorted(largest)
        assert largest[-1] == FULL
        assert len(warned(server)) == 2
        assert server.metric("altclip_items_total", outcome="failed") == 0


def test_17_where_memory_stays_short_all_succeed_but_what_fits_nowhere(tmp_path: Path) -> None:
    with running(tmp_path / "calls", "oom=huge") as (server, stub):
        sent: list[list[str]] = [texts() for _ in range(20)]
        answers: list[pb.EmbedTextResponse] = []

        def call() -> None:
            futures = [stub.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=60) for each in sent]
            answers.extend(future.result() for future in futures)

        ran = batches(tmp_path / "calls", call)
        assert [answer.embeddings.data for answer in answers] == list(map(solo, sent))
        assert max(answer.timings.batch_size for answer in answers) <= ROOM
        # It looks from time to time whether there is more room, and otherwise keeps below it.
        assert sum(size > ROOM for size in ran) < len(ran) / 4
        assert server.metric("altclip_items_total", outcome="failed") == 0

        items = [pb.StreamItem(id=text, text=text) for text in [*texts(40), "huge"]]
        requests = [
            pb.EmbedStreamRequest(config=pb.StreamConfig()),
            pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)),
        ]
        results = list(stub.EmbedStream(iter(requests), timeout=60))
        assert {name for result in results for name in result.ids} == {item.id for item in items[:-1]}
        assert [error.id for result in results for error in result.errors] == ["huge"]
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, "huge")
        assert failure_of(failed.value).code == "INTERNAL"
        assert "room" not in failure_of(failed.value).sent
        assert server.metric("altclip_items_total", outcome="failed") == 2
        assert embed(stub, *texts()).embeddings.count == FULL
