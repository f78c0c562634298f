"""7. A bug in a handler: INTERNAL, and only the log knows more, under the request's id."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as models_pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from altclip.v1.model_service_pb2_grpc import ModelServiceStub
from tests.faults.harness import BUGS, Failure, crew, embed, failure_of, health, open_stub, service
from tests.faults.http_calls import ask
from tests.server import RunningServer
from tests.service.running import pictures

NEVER_TOLD = (
    "KeyError",
    "ZeroDivision",
    "Error(",
    "Traceback",
    ".py",
    "/srv",
    "secret",
    "sitecustomize",
    "line ",
)
ITEM, IMAGE = pb.Item(text="a"), pb.Image(content=pictures(1)[0])
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A bug ends no process: all tests find the same ones."""
    with service("m=stub:dimension=8,state_dimension=8,image_size=32", environment=BUGS) as running:
        before = crew(running)
        yield running
        assert crew(running) == before
        assert running.metric("altclip_worker_restarts_total") == 0
        assert running.stop() == 0


def stream(*items: pb.StreamItem) -> Iterator[pb.EmbedStreamRequest]:
    yield pb.EmbedStreamRequest(config=pb.StreamConfig())
    yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


# A label for the metrics of each RPC that has a model, and how it is called on a channel.
CALLS: dict[str, Callable[[grpc.Channel, Any], Any]] = {
    "EmbedText": lambda channel, options: EmbeddingServiceStub(channel).EmbedText(
        pb.EmbedTextRequest(texts=["a"]), **options
    ),
    "EmbedImage": lambda channel, options: EmbeddingServiceStub(channel).EmbedImage(
        pb.EmbedImageRequest(images=[IMAGE]), **options
    ),
    "Similarity": lambda channel, options: EmbeddingServiceStub(channel).Similarity(
        pb.SimilarityRequest(queries=[ITEM], candidates=[ITEM]), **options
    ),
    "ClassifyImage": lambda channel, options: EmbeddingServiceStub(channel).ClassifyImage(
        pb.ClassifyImageRequest(images=[IMAGE], labels=["a"]), **options
    ),
    "EncodePrompt": lambda channel, options: EmbeddingServiceStub(channel).EncodePrompt(
        pb.EncodePromptRequest(texts=["a"]), **options
    ),
    "EmbedStream": lambda channel, options: list(
        EmbeddingServiceStub(channel).EmbedStream(stream(pb.StreamItem(id="1", text="a")), **options)
    ),
    "GetModel": lambda channel, options: ModelServiceStub(channel).GetModel(
        models_pb.GetModelRequest(), **options
    ),
}


def check(server: RunningServer, failure: Failure, request_id: str, exception: str, start: int) -> None:
    """The client was told a reason and the id under which the log has everything."""
    assert (failure.code, failure.reason) == ("INTERNAL", "INTERNAL")
    assert request_id in failure.sent
    assert [word for word in NEVER_TOLD if word in failure.sent] == []
    logged = server.logs.wait_for("call_failed", start=start)
    assert (logged["level"], logged["request_id"]) == ("error", request_id)
    assert logged["exception"] == exception
    assert "sitecustomize.py" in logged["traceback"]
    # The exception's own words may quote what a caller sent.
    assert "secret" not in "\n".join(server.logs.lines)


@pytest.mark.parametrize("method", CALLS)
def test_07_a_bug_is_internal_and_only_the_log_knows_more(server: RunningServer, method: str) -> None:
    request_id = f"bug-{next(_numbers)}"
    options = {"metadata": (("x-request-id", request_id),), "timeout": 30}
    counted = server.metric("altclip_requests_total", method=method, code="INTERNAL")
    start = len(server.logs.records)
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as failed:
        CALLS[method](channel, options)
    check(server, failure_of(failed.value), request_id, "builtins.KeyError", start)
    assert server.metric("altclip_requests_total", method=method, code="INTERNAL") == counted + 1
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1
    assert health(server) == "SERVING"


# No Exception: asyncio and gRPC would pass it on, and tell the caller nothing.
PANIC = "pyo3_runtime.PanicException"
BROKEN = {"buggy": "builtins.ZeroDivisionError", "panic": PANIC}


@pytest.mark.parametrize("word", BROKEN)
@pytest.mark.parametrize("times", [1, 50])
def test_07_so_is_one_deep_inside_or_in_a_thread(server: RunningServer, word: str, times: int) -> None:
    """Short texts are tokenised on the event loop, long ones in a thread."""
    text = f"a {word} text of many words " * times
    start = len(server.logs.records)
    with open_stub(server) as stub, pytest.raises(grpc.RpcError) as failed:
        stub.EmbedText(pb.EmbedTextRequest(texts=[text]), metadata=(("x-request-id", "deep"),), timeout=60)
    check(server, failure_of(failed.value), "deep", BROKEN[word], start)


@pytest.mark.parametrize("word", BROKEN)
def test_07_over_http_it_is_the_same(server: RunningServer, word: str) -> None:
    start = len(server.logs.records)
    reply = ask(server, f"a {word} text", "another")
    assert (reply.status, reply.code) == (500, "internal")
    assert server.logs.wait_for("call_failed", start=start)["exception"] == BROKEN[word]


@pytest.mark.parametrize(
    ("word", "event"), [("buggy", "item_not_prepared"), ("panic", "stream_items_failed")]
)
def test_07_in_a_stream_it_is_the_items_error(server: RunningServer, word: str, event: str) -> None:
    start = len(server.logs.records)
    with open_stub(server) as stub:
        requests = [
            *stream(pb.StreamItem(id="1", text="a")),
            pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[pb.StreamItem(id="2", text=word)])),
        ]
        metadata = (("x-request-id", "in-a-stream"),)
        answers = list(stub.EmbedStream(iter(requests), metadata=metadata, timeout=60))
    assert [name for answer in answers for name in answer.ids] == ["1"]
    (error,) = [error for answer in answers for error in answer.errors]
    assert (error.id, error.status.code) == ("2", grpc.StatusCode.INTERNAL.value[0])
    assert b"altclip" in error.status.details[0].value
    assert [word for word in NEVER_TOLD if word in str(error)] == []
    logged = server.logs.wait_for(event, start=start)
    assert (logged["level"], logged["request_id"]) == ("error", "in-a-stream")
    assert logged["exception"] == BROKEN[word]
