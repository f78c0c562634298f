"""Streams of a job and their servers: what fails there for a while costs no row, and ends no job."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

from altclip import Client
from altclip.bulk.blocks import Block, Vectors
from altclip.bulk.columns import Embedded, Shape
from altclip.bulk.flow.lanes import Stream
from altclip.bulk.flow.pool import Lane, Pool
from altclip.errors import AltClipError, Cancelled, ClientUnusable, RevisionChanged, Unavailable
from altclip.results import Model, StreamResult
from tests.altclip.fake_service import DIMENSION, Failure, FakeService, RunningFake, start_fake
from tests.server import PATIENCE, until

REVISION = "0123456789abcdef"
"""That of the fake service."""


@pytest.fixture
def another() -> Iterator[RunningFake]:
    """A second server."""
    running = start_fake()
    yield running
    running.stop()


def job(client: Client, rows: int) -> tuple[Stream, Block]:
    """A job of so many texts, all of them in one block."""
    shape = Shape("float32", DIMENSION)
    batch = pa.RecordBatch.from_pydict({"text": [f"text {n}" for n in range(rows)]})
    block = Block(0, 0, batch, [Vectors(rows, shape)])
    pool = Pool(["text"], None)
    assert pool.add(block, [(row, 0) for row in range(rows)])
    pool.end_of_input()
    model = replace(client.get_model(), revision=REVISION)
    return Stream(pool, model, (Embedded("text", is_text=True),), shape, Path()), block


def test_a_stream_that_a_server_cancelled_as_it_closed_its_connections_is_opened_again(
    fake: RunningFake, service: FakeService
) -> None:
    service.failures["EmbedStream"] = [Failure(grpc.StatusCode.CANCELLED, pushback_ms="-1")]
    with Client(fake.address) as client:
        stream, block = job(client, 5)
        stream.run(client)
    assert stream.pool.error is None
    assert isinstance(stream.last_trouble, Cancelled)
    assert block.vectors[0].done.all()
    assert block.failures == []


def test_a_client_that_was_closed_ends_the_job(fake: RunningFake, service: FakeService) -> None:
    service.stream_gate.clear()
    client = Client(fake.address)
    stream, _ = job(client, 5)
    thread = threading.Thread(target=stream.run, args=(client,))
    thread.start()
    until(lambda: service.stream_read, what="an item at the server")
    client.close()
    thread.join()
    assert isinstance(stream.pool.error, ClientUnusable)


def test_a_server_without_a_worker_costs_no_row_while_another_one_works(
    fake: RunningFake, service: FakeService, another: RunningFake
) -> None:
    service.refusal = Failure(grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE", retry_after=0.0)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(each.address)) for each in (fake, another)]
        stream, block = job(clients[0], 500)
        threads = [threading.Thread(target=stream.run, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.pool.error is None
    assert block.failures == []
    assert block.vectors[0].done.all()


def test_a_service_that_refuses_every_item_is_told_once_and_moves_nothing(
    fake: RunningFake, service: FakeService
) -> None:
    refusal = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_after=0.05)
    service.refusal = refusal
    told: list[str] = []
    with Client(fake.address) as client:
        stream, _ = job(client, 5)
        stream.tell = lambda error, pause: told.append(error.reason)
        thread = threading.Thread(target=stream.run, args=(client,))
        thread.start()
        until(lambda: told and stream.pool.idle_seconds() > 1, what="a second in which nothing moves")
        stream.pool.stop(KeyboardInterrupt())
        thread.join()
    assert told == ["QUOTA_EXCEEDED"]
    assert stream.last_trouble is not None
    assert stream.last_trouble.reason == "QUOTA_EXCEEDED"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Unavailable("patience has ended")])
def test_a_job_that_ends_early_does_not_wait_for_what_is_under_way(
    fake: RunningFake, service: FakeService, error: BaseException
) -> None:
    service.stream_gate.clear()
    told: list[AltClipError] = []
    with Client(fake.address) as client:
        stream, _ = job(client, 5)
        stream.tell = lambda error, pause: told.append(error)
        thread = threading.Thread(target=stream.run, args=(client,))
        thread.start()
        until(lambda: service.stream_read, what="an item at the server")
        stream.pool.stop(error)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert service.stream_ended.wait(PATIENCE)
    assert told == []


def test_a_server_with_another_dtype_gives_no_vector(fake: RunningFake, service: FakeService) -> None:
    with Client(fake.address) as client:
        stream, _ = job(client, 5)
        stream.model = replace(stream.model, dtype="float32")
        service.described = [{"dtype": "bfloat16"}]
        stream.run(client)
    assert isinstance(stream.pool.error, RevisionChanged)
    assert "in bfloat16, and the vectors of this job are computed in float32" in str(stream.pool.error)
    assert service.stream_read == 0


def test_a_server_that_does_not_know_its_dtype_yet_is_waited_for(
    fake: RunningFake, service: FakeService
) -> None:
    with Client(fake.address) as client:
        stream, block = job(client, 5)
        stream.model = replace(stream.model, dtype="float32")
        service.described = [{}, {"dtype": "float32"}]
        stream.run(client)
    assert stream.pool.error is None
    assert isinstance(stream.last_trouble, Unavailable)
    assert block.vectors[0].done.all()


class Away:
    """A connection to a server that is not there."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def get_model(self, name: str) -> Model:
        return self._model

    def embed_stream(self, *_: object, **__: object) -> Generator[StreamResult]:
        raise Unavailable("no server answers")

    def close(self) -> None:
        """Nothing."""


def test_the_pauses_for_a_server_that_is_away_grow_whatever_others_do(
    fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(fake.address) as client:
        stream, _ = job(client, 5)
    pool, healthy, pauses = stream.pool, Lane(), list[float]()

    def another_cell_is_done(seconds: float) -> bool:
        pauses.append(seconds)
        cell = pool.take(healthy)
        assert cell is not None
        pool.done_with(healthy, cell)
        if len(pauses) == 4:
            pool.stop(KeyboardInterrupt())
        return pool.over

    monkeypatch.setattr(pool, "wait_over", another_cell_is_done)
    stream.run(Away(stream.model))
    assert pauses == [0.5, 1.0, 2.0, 4.0]
