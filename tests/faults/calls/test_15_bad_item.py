"""15. One bad item among 10,000 streamed: 9,999 right results, one item's error, and the stream ends OK."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import crew, open_stub, service
from tests.server import RunningServer
from worker.arrays import Floats

COUNT, PLACE, TEXTS = 10_000, 4_321, 250
BAD = {
    "a file that is no picture": (
        pb.StreamItem(image=pb.Image(content=b"no picture")),
        "INVALID_ARGUMENT",
        "UNDECODABLE_IMAGE",
    ),
    "a text of half a megabyte": (pb.StreamItem(text="long " * 100_000), "INVALID_ARGUMENT", "TEXT_TOO_LONG"),
    "neither": (pb.StreamItem(), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    "what breaks the model": (pb.StreamItem(text="venom"), "INTERNAL", "INTERNAL"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with service("m=stub:dimension=16,image_size=32,poison=venom") as running:
        yield running


def messages(bad: pb.StreamItem, size: int = 100) -> Iterator[pb.EmbedStreamRequest]:
    """Item n is text n modulo `TEXTS`, but for one."""
    yield pb.EmbedStreamRequest(config=pb.StreamConfig())
    numbers = iter(range(COUNT))
    while chunk := list(itertools.islice(numbers, size)):
        items = [pb.StreamItem(id=str(number), text=f"text {number % TEXTS}") for number in chunk]
        if PLACE in chunk:
            items[chunk.index(PLACE)].CopyFrom(bad)
            items[chunk.index(PLACE)].id = str(PLACE)
        yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


def rows(embeddings: pb.Embeddings) -> Floats:
    return np.frombuffer(embeddings.data, "<f4").reshape(embeddings.count, 16)


@pytest.mark.parametrize("name", BAD)
def test_15_one_bad_item_among_ten_thousand_fails_alone(server: RunningServer, name: str) -> None:
    bad, code, reason = BAD[name]
    before = crew(server)
    ok, failed = (server.metric("altclip_items_total", outcome=outcome) for outcome in ("ok", "failed"))
    with open_stub(server) as stub:
        texts = [f"text {number}" for number in range(TEXTS)]
        expected = rows(stub.EmbedText(pb.EmbedTextRequest(texts=texts), timeout=60).embeddings)
        call = stub.EmbedStream(messages(bad), timeout=90)
        answers = list(call)
        assert call.code() is grpc.StatusCode.OK
    found: dict[str, Floats] = {}
    for answer in answers:
        found.update(zip(answer.ids, rows(answer.embeddings), strict=True))
    assert sum(len(answer.ids) for answer in answers) == len(found) == COUNT - 1
    assert set(found) == set(map(str, range(COUNT))) - {str(PLACE)}
    for number, row in found.items():
        np.testing.assert_array_equal(row, expected[int(number) % TEXTS])
    (error,) = [error for answer in answers for error in answer.errors]
    info = error_details_pb2.ErrorInfo()
    assert error.status.details[0].Unpack(info)
    assert (error.id, info.reason) == (str(PLACE), reason)
    assert error.status.code == grpc.StatusCode[code].value[0]
    assert server.metric("altclip_items_total", outcome="ok") == ok + TEXTS + COUNT - 1
    assert server.metric("altclip_items_total", outcome="failed") == failed + 1
    assert crew(server) == before
