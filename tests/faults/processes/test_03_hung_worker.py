"""3. SIGSTOP of the worker, as a device that hangs: it is replaced, and none that only works hard is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import (
    QUICK,
    ROOM,
    Holds,
    embed,
    idle,
    open_stub,
    replacing,
    service,
    under_way,
    worker_of,
)
from tests.server import RunningServer, outliving, start_server, until

HANG = 3.0
"""Seconds without progress after which a process is replaced."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One item a batch, 0.3 s each, watched as closely as a busy machine allows."""
    source = "m=stub:dimension=8,service_time=0.3"
    with service(source, f"--hang-timeout={HANG}", "--restart-stable=100ms", "--batch-tokens=3") as running:
        yield running


@pytest.fixture
def restarts(server: RunningServer) -> Callable[[], float]:
    """How many workers were replaced since the test began."""
    before = server.metric("altclip_worker_restarts_total")
    return lambda: server.metric("altclip_worker_restarts_total") - before


def _seconds_between(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> float:
    """Between two records of the log."""
    begin, end = (datetime.fromisoformat(record["ts"]) for record in (earlier, later))
    return (end - begin).total_seconds()


def start_call(server: RunningServer, stub: EmbeddingServiceStub) -> list[int]:
    """A call of several batches that is under way when this returns; the list gets how many embeddings it was
    answered."""
    answers: list[int] = []
    texts = [f"{number} " * 70 for number in range(16)]
    threading.Thread(target=lambda: answers.append(embed(stub, *texts).embeddings.count), daemon=True).start()
    under_way(server)
    return answers


def test_03_a_stopped_worker_is_replaced_within_a_bounded_time(
    server: RunningServer, restarts: Callable[[], float]
) -> None:
    with open_stub(server) as stub:
        embed(stub)
        worker = worker_of(server)
        with replacing(server):
            worker.suspend()
            started = time.monotonic()
            with pytest.raises(grpc.RpcError) as failed:
                embed(stub)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - started < 5.0 + ROOM
        assert not worker.is_running()
        assert embed(stub).embeddings.count == 1
    assert restarts() == 1
    assert server.logs.wait_for("child_stuck")["message"].startswith("no progress for")
    # The time for which it hung is none for which it served: one that always hangs must not pass for stable.
    ready, ended = server.logs.wait_for("worker_ready"), server.logs.wait_for("child_ended")
    assert 0 < ended["served"] < _seconds_between(ready, ended) - HANG + 2.0


def test_03_a_stopped_worker_that_owes_nothing_is_left_alone(
    server: RunningServer, restarts: Callable[[], float]
) -> None:
    with open_stub(server) as stub:
        embed(stub)
        worker = worker_of(server)
        idle(server)
        worker.suspend()
        time.sleep(1.3 * HANG)
        worker.resume()
        assert embed(stub).embeddings.count == 1
    assert restarts() == 0


def test_03_the_watchdog_never_fires_under_sustained_saturation(
    server: RunningServer, restarts: Callable[[], float]
) -> None:
    # The last of them waits more than twice as long as the watchdog does.
    count = round(2.3 * HANG / 0.3)
    with open_stub(server) as stub:
        texts = [" ".join([str(number), *["w"] * 70]) for number in range(count)]
        assert embed(stub, *texts).embeddings.count == count
    assert restarts() == 0


def test_03_nobody_is_blamed_for_a_machine_that_slept(
    server: RunningServer, restarts: Callable[[], float]
) -> None:
    processes = {process.pid for process in server.processes()}
    with open_stub(server) as stub:
        answers = start_call(server, stub)
        os.killpg(server.pid, signal.SIGSTOP)
        time.sleep(1.6 * HANG)
        os.killpg(server.pid, signal.SIGCONT)
        until(lambda: answers == [16], what="the answer")
    assert restarts() == 0
    assert {process.pid for process in server.processes()} == processes


def test_03_a_stopped_frontend_is_replaced_and_its_worker_is_not_blamed(
    server: RunningServer, restarts: Callable[[], float]
) -> None:
    (frontend,) = server.processes("altclip-frontend 0")
    with open_stub(server) as stub:
        texts = [f"other{number} " * 70 for number in range(40)]
        call = stub.EmbedText.future(EmbedTextRequest(texts=texts), timeout=60)
        under_way(server)
        with replacing(server):
            frontend.suspend()
            assert call.exception() is not None
        assert not frontend.is_running()
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1
    assert restarts() == 0


def test_03_a_worker_that_starts_while_a_frontend_stands_still_serves_the_others(tmp_path: Path) -> None:
    holds = Holds.of(tmp_path)
    with service(f"m=stub:dimension=8,{holds.options}", "--frontends=2") as server:
        holds.load.touch()
        worker_of(server).kill()
        until(lambda: server.metric("altclip_worker_up") == 0, what="the worker's end is noticed")
        (frontend,) = server.processes("altclip-frontend 1")
        frontend.suspend()
        holds.load.unlink()
        until(lambda: server.metric("altclip_worker_up") == 1, what="a new worker")
        # Connections are shared between the frontends: one of these soon meets the one that works.
        with replacing(server):
            until(lambda: answered(server), what="an answer")
            assert frontend.status() == psutil.STATUS_STOPPED, "while it stands still"
            frontend.kill()
        assert not frontend.is_running()
        assert server.metric("altclip_worker_restarts_total") == 1


UNKILLABLE = f"""#!{sys.executable}
import sys

from service import cli
from service.supervisor import supervisor
from service.supervisor.children import Child

Child.kill = lambda child: None
supervisor._REAP_SECONDS = supervisor._FAILURE_GRACE = supervisor._LAST_SECONDS = 0.5
sys.exit(cli.main())
"""
"""A server whose processes no signal of its ends, as one that waits in the kernel for its device."""


def test_03_a_worker_that_hangs_and_cannot_be_killed_ends_the_server(tmp_path: Path) -> None:
    command = tmp_path / "altclip-server"
    command.write_text(UNKILLABLE)
    command.chmod(0o755)
    options = ("--model=m=stub:dimension=8", f"--hang-timeout={HANG}", *QUICK)
    with start_server(*options, command=command) as server, open_stub(server) as stub:
        processes = server.processes()
        embed(stub)
        worker_of(server).suspend()
        call = stub.EmbedText.future(EmbedTextRequest(texts=["a"]), timeout=60)
        assert server.process.wait(60) == 1
        assert call.exception() is not None
        assert "was killed and does not end: no progress" in server.logs.wait_for("gave_up")["message"]
        assert outliving(processes, seconds=60) == []


def answered(server: RunningServer) -> bool:
    """Whether a fresh connection gets an answer soon."""
    with open_stub(server) as stub:
        try:
            return embed(stub, seconds=1.0).embeddings.count == 1
        except grpc.RpcError:
            return False
