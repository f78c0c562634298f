"""Streams of a job and their servers: what fails there for a while costs no row, and ends no job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
from altclip.bulk.flow.pool import Pool
from altclip.errors import Cancelled, ClientUnusable
from tests.altclip.fake_service import DIMENSION, Failure, FakeService, RunningFake, start_fake
from tests.server import until

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
