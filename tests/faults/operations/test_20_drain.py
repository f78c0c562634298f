"""20. SIGTERM: what was admitted is finished, and the exit status is 0 within the grace period."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from altclip.channel import CHANNEL_OPTIONS
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import DRAINED, ROOM, embed, open_stub, service, under_way
from tests.server import Logs, RunningServer, launch, until


def seconds_to_stop(logs: Logs) -> float:
    """From the last signal to the end by the server's own log, whenever a busy machine let it begin."""
    logs.wait_for("stopped")
    moments = {record["event"]: datetime.fromisoformat(record["ts"]) for record in logs.records}
    return (moments["stopped"] - moments["signal"]).total_seconds()


def load(server: RunningServer, stop: threading.Event, ended: Counter[str]) -> list[threading.Thread]:
    """Callers that go on until they are refused."""

    def caller() -> None:
        with open_stub(server) as stub:
            while not stop.is_set():
                try:
                    embed(stub, "a", "b")
                    ended["OK"] += 1
                except grpc.RpcError as error:
                    ended[error.code().name] += 1
                    return

    threads = [threading.Thread(target=caller) for _ in range(8)]
    for thread in threads:
        thread.start()
    return threads


def test_20_a_drain_under_load_ends_well_and_refuses_politely() -> None:
    with service("m=stub:dimension=8,service_time=0.05", "--grace=60") as server:
        stop: threading.Event = threading.Event()
        ended = Counter(OK=0)  # there from the start: to count on is one step for a thread, to begin is not
        threads = load(server, stop, ended)
        until(lambda: ended["OK"] >= 16, what="load")
        assert server.stop() == 0
        assert seconds_to_stop(server.logs) < 10.0 + ROOM
        stop.set()
        for thread in threads:
            thread.join(60)
        # A client without retries sees the refusal; what was admitted had its answer.
        assert set(ended) <= {"OK", *DRAINED}, ended
        counted = server.logs.wait_for("stopped")["calls"]
        assert counted["OK"] == ended["OK"]
        assert set(counted) <= {"OK", "UNAVAILABLE"}


def test_20_no_call_fails_with_the_documented_configuration_while_one_of_two_servers_drains() -> None:
    source = "m=stub:dimension=8,service_time=0.02"
    with service(source) as leaving, service(source) as staying:
        addresses = f"ipv4:{leaving.grpc},{staying.grpc}"
        ended: Counter[str] = Counter()
        stop = threading.Event()
        with grpc.insecure_channel(addresses, CHANNEL_OPTIONS) as channel:
            stub = EmbeddingServiceStub(channel)

            def caller() -> None:
                while not stop.is_set():
                    try:
                        embed(stub, "a", "b")
                        ended["OK"] += 1
                    except grpc.RpcError as error:
                        ended[f"{error.code().name}: {error.details()}"] += 1

            threads = [threading.Thread(target=caller) for _ in range(8)]
            for thread in threads:
                thread.start()
            until(lambda: ended["OK"] >= 100, what="load")
            until(lambda: leaving.metric("altclip_requests_total", code="OK") > 0, what="load on both")
            assert leaving.stop() == 0
            after = ended["OK"]
            until(lambda: ended["OK"] >= after + 50, what="load on the other")
            stop.set()
            for thread in threads:
                thread.join(60)
        assert set(ended) == {"OK"}, ended


def test_20_a_health_watcher_that_reads_nothing_does_not_hold_the_server() -> None:
    with service("m=stub:dimension=8", "--grace=60") as server:
        channel = grpc.insecure_channel(server.grpc)
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types miss the methods
        next(stub.Watch(health_pb2.HealthCheckRequest()))
        assert server.stop() == 0
        assert seconds_to_stop(server.logs) < 10.0 + ROOM
        channel.close()


def test_20_a_long_call_is_finished_although_the_signal_came(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    with service(f"m=stub:dimension=8,hold={hold}", "--grace=30") as server, open_stub(server) as stub:
        hold.touch()
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(embed(stub, seconds=60).embeddings.count))
        caller.start()
        under_way(server)
        server.process.send_signal(signal.SIGTERM)
        server.logs.wait_for("signal")
        assert answers == []
        hold.unlink()
        assert server.process.wait(60) == 0
        caller.join(60)
        assert answers == [1]


def test_20_a_call_longer_than_the_grace_is_cut_off_and_the_exit_status_says_so() -> None:
    with service("m=stub:dimension=8,service_time=30", "--grace=6") as server, open_stub(server) as stub:
        ended: list[grpc.StatusCode] = []

        def call() -> None:
            try:
                embed(stub)
            except grpc.RpcError as error:
                ended.append(error.code())

        caller = threading.Thread(target=call)
        caller.start()
        under_way(server)
        assert server.stop() == 1
        assert seconds_to_stop(server.logs) < 6.5 + ROOM
        told = [record for record in server.logs.records if record["event"] == "drain_incomplete"]
        # The frontend says how many, and the supervisor in which frontend.
        assert sorted((record["level"], record.get("calls", 0)) for record in told) == [
            ("error", 0),
            ("warning", 1),
        ]
        caller.join(60)
        assert len(ended) == 1


def test_20_a_second_signal_ends_it_at_once() -> None:
    with service("m=stub:dimension=8,service_time=30") as server, open_stub(server) as stub:
        caller = threading.Thread(target=lambda: _ignore_failure(stub))
        caller.start()
        under_way(server)
        server.process.send_signal(signal.SIGTERM)
        server.logs.wait_for("signal")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 1
        assert seconds_to_stop(server.logs) < 1.0 + ROOM
        caller.join(60)


def _ignore_failure(stub: EmbeddingServiceStub) -> None:
    with suppress(grpc.RpcError):
        embed(stub)


def test_20_a_signal_while_models_load_ends_it_quickly() -> None:
    process, logs = launch("--model=m=stub:load_time=60")
    try:
        logs.wait_for("child_started")
        process.terminate()
        assert process.wait(60) == 0
        assert seconds_to_stop(logs) < 1.0 + ROOM
    finally:
        process.kill()
        process.wait()
