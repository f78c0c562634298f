"""A client of version 0.1 with this server, and this client with a server of version 0.1.

`image-0.1.binpb` holds the descriptors of the API as it was then. The old client is made from them. The old
server is this one behind a proxy that reads and writes every message by these descriptors: what 0.1 did not
know is lost on the way, as it would have been there.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from altclip import Client
from altclip.version import VERSION
from tests.faults.harness import service
from tests.server import RunningServer
from tests.service.http.asking import PICTURE

ROOT = Path(__file__).parents[3]
IMAGE = Path(__file__).with_name("image-0.1.binpb")
TEXTS = ["a cat", "a dog", "猫"]


class Method(NamedTuple):
    """One RPC of 0.1. streaming: in both directions."""

    path: str
    request: type[Message]
    response: type[Message]
    streaming: bool


def methods() -> dict[str, Method]:
    """All RPCs of 0.1, by their short names."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes()).file:
        pool.Add(file)
    found = {}
    for name in ("EmbeddingService", "ModelService"):
        descriptor = pool.FindServiceByName(f"altclip.v1.{name}")
        for method in descriptor.methods:
            found[method.name] = Method(
                f"/{descriptor.full_name}/{method.name}",
                message_factory.GetMessageClass(method.input_type),
                message_factory.GetMessageClass(method.output_type),
                method.client_streaming,
            )
    return found


OLD = methods()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with service() as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc) as client:
        yield client


def old_call(server: RunningServer, method_name: str, /, **fields: Any) -> Any:
    """A unary call as 0.1's stubs make it."""
    method = OLD[method_name]
    with grpc.insecure_channel(server.grpc) as channel:
        call: Any = channel.unary_unary(
            method.path, lambda sent: sent.SerializeToString(), method.response.FromString
        )
        return call(method.request(**fields), timeout=20)


@pytest.fixture(scope="module")
def old_server(server: RunningServer) -> Iterator[str]:
    """The address of a server of 0.1."""
    with grpc.insecure_channel(server.grpc) as channel:
        handlers = [_handler(method, channel) for method in OLD.values()]
        proxy = grpc.server(futures.ThreadPoolExecutor(8))
        proxy.add_generic_rpc_handlers((_Handlers(dict(handlers)),))
        port = proxy.add_insecure_port("127.0.0.1:0")
        proxy.start()
        yield f"127.0.0.1:{port}"
        proxy.stop(1).wait()


@pytest.fixture
def new_client(old_server: str) -> Iterator[Client]:
    with Client(old_server) as client:
        yield client


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


def _handler(method: Method, channel: grpc.Channel) -> tuple[str, Any]:
    def as_in(kind: type[Message]) -> Callable[[bytes], bytes]:
        def only_what_it_knew(raw: bytes) -> bytes:
            message = kind.FromString(raw)
            message.DiscardUnknownFields()
            return message.SerializeToString()

        return only_what_it_knew

    request, response = as_in(method.request), as_in(method.response)
    if method.streaming:
        forward: Any = channel.stream_stream(method.path)

        def stream(sent: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            yield from map(response, forward(map(request, sent), timeout=20))

        return method.path, grpc.stream_stream_rpc_method_handler(stream)
    call: Any = channel.unary_unary(method.path)

    def unary(sent: bytes, context: grpc.ServicerContext) -> bytes:
        return response(call(request(sent), timeout=20))

    return method.path, grpc.unary_unary_rpc_method_handler(unary)


def test_nothing_that_was_promised_in_0_1_is_broken(tmp_path: Path) -> None:
    current, folder = tmp_path / "image.binpb", Path(sys.executable).parent
    site = Path(grpc.__file__).parents[1]
    protos = sorted((ROOT / "protos").rglob("*.proto"))
    compile_ = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}"]
    compile_ += [f"--proto_path={site}", "--include_imports", f"--descriptor_set_out={current}"]
    subprocess.run([*compile_, *map(str, protos)], check=True)
    command = [str(folder / "buf"), "breaking", str(current), "--against", str(IMAGE), "--path", "altclip"]
    done = subprocess.run(
        [*command, "--config", str(ROOT / "buf.yaml")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


class TestAnOldClient:
    def test_gets_the_same_embeddings(self, server: RunningServer, client: Client) -> None:
        answer = old_call(server, "EmbedText", texts=TEXTS)
        assert answer.embeddings.data == client.embed_text(TEXTS).vectors.tobytes()
        assert list(answer.token_counts) == [4, 4, 3]
        answer = old_call(server, "EmbedImage", images=[{"content": PICTURE}])
        assert answer.embeddings.data == client.embed_image(PICTURE).vectors.tobytes()
        answer = old_call(server, "EncodePrompt", texts=["a cat"])
        assert answer.data == client.encode_prompt("a cat").states.tobytes()

    def test_gets_the_same_scores(self, server: RunningServer, client: Client) -> None:
        items = [{"text": "a cat"}, {"image": {"content": PICTURE}}]
        rows = old_call(server, "Similarity", queries=items[:1], candidates=items).rows
        assert list(rows[0].scores) == client.similarity("a cat", ["a cat", PICTURE]).scores[0].tolist()
        found = old_call(server, "ClassifyImage", images=[{"content": PICTURE}], labels=["cat", "dog"])
        (expected,) = client.classify(PICTURE, ["cat", "dog"]).results
        got = [(each.label, each.probability) for each in found.results[0].labels]
        assert got == [(each.label, each.probability) for each in expected]

    def test_streams(self, server: RunningServer, client: Client) -> None:
        method = OLD["EmbedStream"]
        items = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
        sent = [method.request(config={}), method.request(batch={"items": items})]
        with grpc.insecure_channel(server.grpc) as channel:
            call: Any = channel.stream_stream(
                method.path, lambda each: each.SerializeToString(), method.response.FromString
            )
            answers: list[Any] = list(call(iter(sent), timeout=20))
        rows = {
            name: np.frombuffer(each.embeddings.data, "<f4").reshape(len(each.ids), -1)[row].tolist()
            for each in answers
            for row, name in enumerate(each.ids)
        }
        vectors = client.embed_text(TEXTS).vectors
        assert rows == {str(number): vector.tolist() for number, vector in enumerate(vectors)}

    def test_learns_of_the_models(self, server: RunningServer) -> None:
        (model,) = old_call(server, "ListModels").models
        assert (model.name, model.ready) == ("m", True)
        assert old_call(server, "GetModel", name="m").model.dimension == 8

    def test_is_told_its_errors(self, server: RunningServer) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            old_call(server, "EmbedText", texts=["a"], model="unknown")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


class TestAnOldServer:
    def test_gives_the_same_embeddings(self, new_client: Client, client: Client) -> None:
        asks: list[Callable[[Client], Any]] = [
            lambda each: each.embed_text(TEXTS).vectors,
            lambda each: each.embed_image(PICTURE).vectors,
            lambda each: each.encode_prompt("a cat").states,
            lambda each: each.similarity("a cat", ["a dog", PICTURE]).scores,
        ]
        for ask in asks:
            np.testing.assert_array_equal(ask(new_client), ask(client))
        labels = ["cat", "dog"]
        assert new_client.classify(PICTURE, labels).results == client.classify(PICTURE, labels).results

    def test_streams_without_token_counts(self, new_client: Client, client: Client) -> None:
        results = sorted(new_client.embed_stream(TEXTS), key=lambda result: result.index)
        np.testing.assert_array_equal([each.vector for each in results], client.embed_text(TEXTS).vectors)
        assert [each.token_count for each in results] == [0, 0, 0]

    def test_tells_neither_its_version_nor_aliases(self, new_client: Client, client: Client) -> None:
        assert new_client.server_version() == ""
        assert client.server_version() == VERSION
        assert new_client.get_model().aliases == ()
        assert new_client.get_model().limits == client.get_model().limits
