"""5. The supervisor killed: every child is gone in under 2 seconds, and nothing that had a name is left."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import grpc
import psutil
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import ROOM, embed, leftovers, open_stub, service
from tests.server import launch, outliving, until


@pytest.mark.parametrize("stopped", [False, True])
def test_05_nothing_outlives_the_supervisor(stopped: bool, tmp_path: Path) -> None:
    before, environment = leftovers(tmp_path), {"TMPDIR": str(tmp_path)}
    with service("m=stub:dimension=8", "--frontends=2", "--replicas=2", environment=environment) as server:
        children = server.processes()
        assert {child.cmdline()[0].split()[0] for child in children} >= {"altclip-worker", "altclip-frontend"}
        assert len(children) >= 4
        if stopped:
            for child in children:
                child.suspend()
        psutil.Process(server.pid).kill()
        assert outliving(children, seconds=2.0 + ROOM) == []
    until(lambda: leftovers(tmp_path) <= before, what="nothing is left")


def test_05_nothing_outlives_a_supervisor_that_dies_under_load(tmp_path: Path) -> None:
    """With calls, a stream and a long batch under way, and callers who are told and do not hang."""
    before, environment = leftovers(tmp_path), {"TMPDIR": str(tmp_path)}
    ended: list[str] = []
    source = "m=stub:dimension=8,service_time=0.3"
    with service(source, "--frontends=2", environment=environment) as server:
        streamed = threading.Event()

        def unary() -> None:
            with open_stub(server) as stub:
                try:
                    while True:
                        embed(stub, "a")
                except grpc.RpcError as error:
                    ended.append(error.code().name)

        def stream() -> None:
            config = pb.EmbedStreamRequest(config=pb.StreamConfig())
            items = [pb.StreamItem(id=str(number), text="a") for number in range(100)]
            endless = itertools.repeat(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
            with open_stub(server) as stub:
                try:
                    for _ in stub.EmbedStream(itertools.chain([config], endless), timeout=120):
                        streamed.set()
                except grpc.RpcError as error:
                    ended.append(error.code().name)

        callers = [threading.Thread(target=each) for each in (unary, unary, unary, unary, stream)]
        for caller in callers:
            caller.start()
        until(lambda: server.metric("altclip_batch_size_count") > 3 and streamed.is_set(), what="load")
        children = server.processes()
        psutil.Process(server.pid).kill()
        assert outliving(children, seconds=2.0 + ROOM) == []
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive(), "a caller hangs"
    assert ended == ["UNAVAILABLE"] * 5
    until(lambda: leftovers(tmp_path) <= before, what="nothing is left")


def test_05_nothing_outlives_a_supervisor_that_dies_while_models_load() -> None:
    process, logs = launch("--model", "m=stub:load_time=60")
    try:
        logs.wait_for("frontend_listening")
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.kill()
        assert outliving(children, seconds=2.0 + ROOM) == []
    finally:
        process.kill()
        process.wait()
