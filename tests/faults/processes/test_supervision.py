"""The supervisor and workers that end at awkward moments.

One that is stopped is in test_03; that one of two models which crash-loops ends the service, in test_04.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import grpc
import psutil
import pytest

from tests.faults.harness import (
    DRAINED,
    QUICK,
    Holds,
    embed,
    failure_of,
    health,
    open_stub,
    service,
    under_way,
    worker_of,
)
from tests.server import RunningServer, launch, until

SERVICE = "altclip.v1.EmbeddingService"


def test_a_worker_that_cannot_be_started_for_a_while_is_started_later() -> None:
    with service("m=stub:dimension=8", "--restart-limit=100") as server:
        supervisor = psutil.Process(server.pid)
        before = supervisor.rlimit(psutil.RLIMIT_NOFILE)
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (8, before[1]))
        worker_of(server).kill()
        until(
            lambda: _reasons(server) >= {"SIGKILL", "cannot be started: Too many open files"},
            what="it",
        )
        supervisor.rlimit(psutil.RLIMIT_NOFILE, before)
        until(lambda: health(server) == "SERVING", what="a new worker")


def test_a_worker_that_cannot_be_linked_to_the_frontends_is_replaced(tmp_path: Path) -> None:
    """It would count as ready, and no call would ever reach it."""
    holds = Holds.of(tmp_path)
    with service(f"m=stub:dimension=8,{holds.options}", "--restart-limit=100") as server:
        supervisor = psutil.Process(server.pid)
        before = supervisor.rlimit(psutil.RLIMIT_NOFILE)
        holds.load.touch()
        worker_of(server).kill()
        until(lambda: _started(server).count("altclip-worker m cpu") == 2, what="the next one loads")
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (8, before[1]))
        holds.load.unlink()
        until(lambda: "cannot be linked: Too many open files" in _reasons(server), what="it is given up")
        supervisor.rlimit(psutil.RLIMIT_NOFILE, before)
        until(lambda: health(server) == "SERVING", what="a worker that is linked")


def test_a_frontend_that_cannot_take_the_link_to_a_new_worker_is_replaced() -> None:
    """It would have no worker for as long as this one lives."""
    with service("m=stub:dimension=8") as server:
        (frontend,) = server.processes("altclip-frontend 0")
        frontend.rlimit(psutil.RLIMIT_NOFILE, (1, frontend.rlimit(psutil.RLIMIT_NOFILE)[1]))
        worker_of(server).kill()
        until(lambda: _started(server).count("altclip-frontend 0") == 2, what="another frontend")
        until(lambda: health(server) == "SERVING", what="it has the new worker")


def _started(server: RunningServer) -> list[str]:
    return [record["title"] for record in server.logs.records if record["event"] == "child_started"]


def _reasons(server: RunningServer) -> set[str]:
    return {record["reason"] for record in server.logs.records if record["event"] == "child_ended"}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_that_is_killed_while_it_loads_is_started_again(stopped: bool, tmp_path: Path) -> None:
    holds = Holds.of(tmp_path)
    holds.load.touch()
    process, logs = launch(*QUICK, f"--model=m=stub:dimension=8,{holds.options}")
    server = RunningServer(process, logs, grpc="", http="", ops="", ready={})
    try:
        logs.wait_for("frontend_listening")
        until(lambda: server.processes("altclip-worker m "), what="the worker loads")
        worker = worker_of(server)
        if stopped:
            worker.suspend()
        worker.kill()
        holds.load.unlink()
        logs.wait_for("ready")
        ended = logs.wait_for("child_ended")
        assert (ended["title"], ended["served"]) == ("altclip-worker m cpu", 0.0)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_dies_while_draining_is_not_replaced() -> None:
    with service("m=stub:dimension=8,service_time=30") as server, open_stub(server) as stub:
        ended: list[grpc.StatusCode] = []

        def call() -> None:
            try:
                embed(stub)
            except grpc.RpcError as error:
                ended.append(error.code())

        caller = threading.Thread(target=call)
        caller.start()
        under_way(server)
        worker = worker_of(server)
        server.process.terminate()
        server.logs.wait_for("signal")
        worker.kill()
        assert server.process.wait(60) == 0
        caller.join(60)
        assert ended == [grpc.StatusCode.UNAVAILABLE]
        assert [record["event"] for record in server.logs.records].count("worker_ready") == 1


def test_as_long_as_one_of_two_models_crash_loops_the_other_serves(tmp_path: Path) -> None:
    """Until the supervisor gives up; then its callers are drained, not cut off.

    The bad model's processes load until they are let go on, and then fail.
    """
    hold = tmp_path / "hold"
    hold.touch()
    bad = f"--model=bad=stub:load_fault=abort,load_hold={hold}"
    models = ("--model=good=stub:dimension=8,service_time=0.2", bad)
    process, logs = launch(*QUICK, *models, "--restart-limit=6", "--restart-backoff=200ms")
    ended: Counter[str] = Counter()

    def failed() -> int:
        return sum(record["event"] == "child_ended" for record in logs.records)

    try:
        address = logs.wait_for("frontend_listening")["grpc"]
        server = RunningServer(process, logs, grpc=address, http="", ops="", ready={})
        until(lambda: health(server, f"{SERVICE}/good") == "SERVING", what="the good one is ready")
        with open_stub(server) as stub:
            for life in range(3):
                until(lambda life=life: failed() >= life, what="it has failed")  # type: ignore[misc]
                hold.touch()  # its next process is being started
                assert health(server, f"{SERVICE}/bad") == "NOT_SERVING"
                assert health(server) == "NOT_SERVING"
                assert embed(stub, model="good").embeddings.count == 1
                with pytest.raises(grpc.RpcError) as refused:
                    embed(stub, model="bad")
                assert failure_of(refused.value).reason == "WORKER_UNAVAILABLE"
                hold.unlink()
            while process.poll() is None:
                try:
                    embed(stub, model="good")
                    ended["OK"] += 1
                except grpc.RpcError as error:
                    ended[error.code().name] += 1
                    break
        assert process.wait(60) == 1
        gave_up = logs.wait_for("gave_up")
        assert "altclip-worker bad cpu failed 6 times in a row" in gave_up["message"]
        assert ended["OK"] > 0
        assert set(ended) <= {"OK", *DRAINED}
        counted = logs.wait_for("stopped")["calls"]
        assert counted["OK"] == 3 + ended["OK"]
        assert set(counted) <= {"OK", "UNAVAILABLE"}
        titles = {record["title"] for record in logs.records if record["event"] == "child_ended"}
        assert titles == {"altclip-worker bad cpu"}
    finally:
        process.kill()
        process.wait()
