"""6. A cancelled internal future: every caller gets a status at once, and nobody hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import BUGS, crew, embed, failure_of, open_stub, service
from tests.server import RunningServer, until

WORDS = "a text that is dropped"
GOOD = "a text"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A cancelled future ends no process: all tests find the same ones."""
    with service("m=stub:dimension=8,state_dimension=8,image_size=32", environment=BUGS) as running:
        before = crew(running)
        yield running
        assert crew(running) == before
        assert running.stop() == 0, "something is still waited for"


@pytest.fixture
def stub(server: RunningServer) -> Iterator[Any]:
    with open_stub(server) as made:
        yield made


CALLS: dict[str, Callable[[Any], Any]] = {
    "EmbedText": lambda stub: stub.EmbedText.with_call(
        pb.EmbedTextRequest(texts=[GOOD, WORDS, GOOD]), timeout=60
    ),
    "Similarity": lambda stub: stub.Similarity.with_call(
        pb.SimilarityRequest(queries=[pb.Item(text=GOOD)], candidates=[pb.Item(text=WORDS)]), timeout=60
    ),
    "EncodePrompt": lambda stub: stub.EncodePrompt.with_call(
        pb.EncodePromptRequest(texts=[WORDS]), timeout=60
    ),
}


@pytest.mark.parametrize("method", CALLS)
def test_06_the_caller_gets_a_status(server: RunningServer, stub: Any, method: str) -> None:
    counted = server.metric("altclip_requests_total", method=method, code="INTERNAL")
    start = len(server.logs.records)
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        CALLS[method](stub)
    assert time.monotonic() - began < 10.0, "it hung"
    failure = failure_of(failed.value)
    assert (failure.code, failure.reason) == ("INTERNAL", "INTERNAL")
    assert "Cancelled" not in failure.sent
    logged = server.logs.wait_for("call_failed", start=start)
    assert logged["request_id"] in failure.sent
    assert logged["exception"] == "asyncio.exceptions.CancelledError"
    assert server.metric("altclip_requests_total", method=method, code="INTERNAL") == counted + 1


def test_06_in_a_stream_the_items_get_one_and_the_stream_goes_on(server: RunningServer, stub: Any) -> None:
    def requests() -> Iterator[pb.EmbedStreamRequest]:
        yield pb.EmbedStreamRequest(config=pb.StreamConfig())
        for name, text in (("1", GOOD), ("2", WORDS), ("3", GOOD)):
            yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[pb.StreamItem(id=name, text=text)]))

    start = len(server.logs.records)
    call = stub.EmbedStream(requests(), timeout=60)
    answers = list(call)
    assert call.code() is grpc.StatusCode.OK
    assert {name for answer in answers for name in answer.ids} == {"1", "3"}
    (error,) = [error for answer in answers for error in answer.errors]
    assert (error.id, error.status.code) == ("2", grpc.StatusCode.INTERNAL.value[0])
    assert server.logs.wait_for("stream_items_failed", start=start)["request_id"]


def test_06_neither_slots_nor_places_in_the_queue_are_lost(server: RunningServer, stub: Any) -> None:
    """Ten times as many items as there are slots, all dropped, and as many callers as may wait."""

    def dropped(number: int) -> str:
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, *(f"{WORDS} {number} {item}" for item in range(256)), seconds=30)
        return failure_of(failed.value).code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(dropped, range(80))) == {"INTERNAL"}
    for name in ("altclip_queue_depth", "altclip_slots_in_use"):
        until(lambda name=name: server.metric(name) == 0, what=f"{name} is zero")  # type: ignore[misc]
    assert embed(stub, *(f"{GOOD} {item}" for item in range(256))).embeddings.count == 256
    ended = server.metric("altclip_items_total")
    assert server.metric("altclip_items_accepted_total") == ended
    assert server.metric("altclip_items_total", outcome="failed") == 0
