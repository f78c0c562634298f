"""A worker that hangs, never gets ready or crash-loops."""

from __future__ import annotations

import os
import signal
import threading
import time

import grpc
import pytest

from tests.faults.processes import QUICK, embed, health, open_stub, service, worker_of
from tests.server import Logs, launch, until


def test_3_a_stopped_worker_is_replaced_within_a_bounded_time() -> None:
    with service("m=stub:dimension=8", "--hang-timeout=1") as server, open_stub(server) as stub:
        embed(stub)
        worker = worker_of(server)
        worker.suspend()
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 3.0
        worker.wait(1)
        until(lambda: health(server) == "SERVING", seconds=10, what="health comes back")
        assert embed(stub).embeddings.count == 1
        assert server.metric("altclip_worker_restarts_total") == 1
        assert server.logs.wait_for("child_stuck", seconds=1)["message"].startswith("no progress for")


def test_3_a_stopped_worker_that_owes_nothing_is_left_alone() -> None:
    with service("m=stub:dimension=8", "--hang-timeout=500ms") as server, open_stub(server) as stub:
        embed(stub)
        worker = worker_of(server)
        worker.suspend()
        time.sleep(1.5)
        worker.resume()
        assert embed(stub).embeddings.count == 1
        assert server.metric("altclip_worker_restarts_total") == 0


def test_3_the_watchdog_never_fires_under_sustained_saturation() -> None:
    # Batches of one item take 0.3 s, so that the last of 16 waits four times as long as the watchdog does.
    source = "m=stub:dimension=8,service_time=0.3"
    arguments = ("--hang-timeout=1", "--batch-tokens=3")
    with service(source, *arguments) as server, open_stub(server) as stub:
        calls = [threading.Thread(target=embed, args=(stub, " ".join(["w"] * 70))) for _ in range(16)]
        for thread in calls:
            thread.start()
        for thread in calls:
            thread.join(30)
        assert server.metric("altclip_requests_total", code="OK") == 16
        assert server.metric("altclip_worker_restarts_total") == 0


def test_a_stopped_frontend_is_replaced_too() -> None:
    with service("m=stub:dimension=8", "--hang-timeout=1") as server:
        (frontend,) = server.processes("altclip-frontend 0")
        frontend.suspend()
        frontend.wait(4)
        until(lambda: server.get("/readyz")[0] == 200, seconds=10, what="a new frontend")
        with open_stub(server) as stub:
            assert embed(stub).embeddings.count == 1


def test_3_nobody_is_blamed_for_a_machine_that_slept() -> None:
    source = "m=stub:dimension=8,service_time=0.3"
    with service(source, "--hang-timeout=1") as server, open_stub(server) as stub:
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(embed(stub).embeddings.count))
        caller.start()
        until(
            lambda: server.metric("altclip_oldest_inflight_seconds") > 0, seconds=5, what="a batch under way"
        )
        os.killpg(server.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.killpg(server.pid, signal.SIGCONT)
        caller.join(10)
        assert answers == [1]
        assert server.metric("altclip_worker_restarts_total") == 0
        assert len(server.processes()) == 2


def crash_loop(*arguments: str) -> tuple[int, Logs, float]:
    process, logs = launch(*QUICK, *arguments)
    started = time.monotonic()
    try:
        return process.wait(30), logs, time.monotonic() - started
    finally:
        process.kill()
        process.wait()


def test_4_a_worker_that_crash_loops_ends_the_service_after_a_backoff() -> None:
    status, logs, _ = crash_loop("--model=m=stub:load_fault=abort", "--restart-limit=4")
    assert status == 1
    gave_up = logs.wait_for("gave_up", seconds=2)
    assert gave_up["message"] == "altclip-worker m cpu failed 4 times in a row, last: SIGABRT"
    starts = [record for record in logs.records if record.get("title") == "altclip-worker m cpu"]
    assert [record["event"] for record in starts].count("child_started") == 4


def test_4_one_of_two_models_that_crash_loops_ends_the_service() -> None:
    status, logs, _ = crash_loop("--model=a=stub:", "--model=b=stub:load_fault=abort", "--restart-limit=2")
    assert status == 1
    assert "altclip-worker b cpu" in logs.wait_for("gave_up", seconds=2)["message"]


def test_4_a_reason_that_will_not_pass_ends_the_service_at_once() -> None:
    status, logs, _ = crash_loop("--model=m=stub:load_fault=raise")
    assert status == 1
    assert logs.wait_for("gave_up", seconds=2)["message"].startswith("altclip-worker m cpu cannot work: ")
    assert [record["event"] for record in logs.records].count("child_started") == 2


def test_4_a_worker_that_never_gets_ready_is_a_crash_loop_too() -> None:
    status, logs, _ = crash_loop(
        "--model=m=stub:load_fault=hang", "--load-timeout=700ms", "--restart-limit=2"
    )
    assert status == 1
    assert "not ready after" in logs.wait_for("gave_up", seconds=2)["message"]


def test_a_worker_that_is_killed_while_it_loads_is_started_again() -> None:
    process, logs = launch(*QUICK, "--model=m=stub:dimension=8,load_time=1")
    import psutil

    try:
        logs.wait_for("frontend_listening", seconds=20)
        (worker,) = [
            child
            for child in psutil.Process(process.pid).children()
            if child.cmdline()[0].startswith("altclip-worker")
        ]
        worker.kill()
        logs.wait_for("ready", seconds=20)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
