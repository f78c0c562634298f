"""The supervisor and workers that end at awkward moments.

One that is stopped is in test_03, one of two models that crash-loops in test_04.
"""

from __future__ import annotations

import threading

import grpc
import psutil
import pytest

from tests.faults.processes import QUICK, embed, health, open_stub, service, worker_of
from tests.server import RunningServer, launch, until


def test_a_worker_that_cannot_be_started_for_a_while_is_started_later() -> None:
    with service("m=stub:dimension=8") as server:
        supervisor = psutil.Process(server.pid)
        before = supervisor.rlimit(psutil.RLIMIT_NOFILE)
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (8, before[1]))
        worker_of(server).kill()
        until(
            lambda: _reasons(server) >= {"SIGKILL", "cannot be started: Too many open files"},
            seconds=5,
            what="it",
        )
        supervisor.rlimit(psutil.RLIMIT_NOFILE, before)
        until(lambda: health(server) == "SERVING", seconds=10, what="a new worker")


def _reasons(server: RunningServer) -> set[str]:
    return {record["reason"] for record in server.logs.records if record["event"] == "child_ended"}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_that_is_killed_while_it_loads_is_started_again(stopped: bool) -> None:
    process, logs = launch(*QUICK, "--model=m=stub:dimension=8,load_time=1")
    try:
        logs.wait_for("frontend_listening", seconds=20)
        (worker,) = [
            child
            for child in psutil.Process(process.pid).children()
            if child.cmdline()[0].startswith("altclip-worker")
        ]
        if stopped:
            worker.suspend()
        worker.kill()
        logs.wait_for("ready", seconds=20)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_dies_while_draining_is_not_replaced() -> None:
    with service("m=stub:dimension=8,service_time=3") as server, open_stub(server) as stub:
        ended: list[grpc.StatusCode] = []

        def call() -> None:
            try:
                embed(stub)
            except grpc.RpcError as error:
                ended.append(error.code())

        caller = threading.Thread(target=call)
        caller.start()
        until(
            lambda: server.metric("altclip_oldest_inflight_seconds") > 0,
            seconds=5,
            what="the call is under way",
        )
        worker = worker_of(server)
        server.process.terminate()
        server.logs.wait_for("signal", seconds=2)
        worker.kill()
        assert server.process.wait(5) == 0
        caller.join(5)
        assert ended == [grpc.StatusCode.UNAVAILABLE]
        assert [record["event"] for record in server.logs.records].count("worker_ready") == 1
