"""Workers, frontends and the supervisor die: what callers, probes, metrics and the machine see of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.processes import embed, health, leftovers, open_stub, service, worker_of
from tests.server import RunningServer, launch, until


def details_of(error: grpc.RpcError) -> bytes:
    """The serialised google.rpc.Status beside a failure."""
    metadata = error.trailing_metadata() or ()
    return b"".join(bytes(each.value) for each in metadata if each.key == "grpc-status-details-bin")


@pytest.fixture(scope="module")
def slow() -> Iterator[RunningServer]:
    """Batches of half a second, and a word that aborts the worker."""
    with service("m=stub:dimension=8,service_time=0.5,abort=boom", "--restart-stable=100ms") as running:
        yield running


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_1_and_2_a_worker_that_dies_in_mid_batch_is_replaced(
    slow: RunningServer, how: signal.Signals
) -> None:
    server = slow
    with open_stub(server) as stub:
        first = embed(stub)
        requests = server.metric("altclip_requests_total")
        refused = server.metric("altclip_requests_total", code="UNAVAILABLE")
        failed = server.metric("altclip_items_total", outcome="failed")
        restarts = server.metric("altclip_worker_restarts_total", model="m", device="cpu")
        outcome: list[tuple[grpc.StatusCode, float, bytes]] = []
        died: list[float] = []

        def call() -> None:
            try:
                embed(stub, "a", "b", "c")
            except grpc.RpcError as error:
                took = time.monotonic() - died[0]
                outcome.append((error.code(), took, details_of(error)))

        calls = [threading.Thread(target=call) for _ in range(8)]
        for thread in calls:
            thread.start()
        time.sleep(0.25)
        died.append(time.monotonic())
        worker_of(server).send_signal(how)
        for thread in calls:
            thread.join(10)
        assert [code for code, _, _ in outcome] == [grpc.StatusCode.UNAVAILABLE] * 8
        assert max(took for _, took, _ in outcome) < 1.0
        assert all(b"RetryInfo" in details for _, _, details in outcome)
        until(lambda: server.metric("altclip_worker_up") == 1, seconds=10, what="a new worker")
        until(lambda: health(server) == "SERVING", seconds=5, what="health comes back")
        assert server.metric("altclip_worker_restarts_total", model="m", device="cpu") == restarts + 1
        assert embed(stub).embeddings == first.embeddings
        # Nothing was lost from the books: eight calls that failed, and one after them.
        until(lambda: server.metric("altclip_requests_total") == requests + 9, seconds=5, what="the counts")
        assert server.metric("altclip_requests_total", code="UNAVAILABLE") == refused + 8
        assert server.metric("altclip_items_total", outcome="failed") == failed + 24


def test_1_health_is_down_until_the_model_is_loaded_again() -> None:
    with service("m=stub:dimension=8,load_time=1.5") as server:
        assert health(server, "altclip.v1.EmbeddingService/m") == "SERVING"
        worker_of(server).kill()
        until(lambda: health(server) == "NOT_SERVING", seconds=5, what="health goes down")
        assert health(server, "altclip.v1.EmbeddingService") == "NOT_SERVING"
        assert health(server, "altclip.v1.EmbeddingService/m") == "NOT_SERVING"
        status, body = server.get("/readyz")
        assert status == 503
        assert '"m": false' in body
        assert server.get("/livez")[0] == 200
        with open_stub(server) as stub, pytest.raises(grpc.RpcError) as refused:
            embed(stub)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        until(lambda: health(server) == "SERVING", seconds=10, what="health comes back")
        assert server.get("/readyz")[0] == 200


def test_2_native_code_that_aborts_ends_its_worker_alone(slow: RunningServer) -> None:
    start = len(slow.logs.records)
    with open_stub(slow) as stub:
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, "boom")
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        until(lambda: health(slow) == "SERVING", seconds=10, what="a new worker")
        assert embed(stub).embeddings.count == 1
    ended = slow.logs.wait_for("child_ended", seconds=1, start=start)
    assert ended["reason"] == "SIGABRT"
    # The log tells where, without a core file that would hold what callers sent.
    assert "stub.py" in ended["traceback"]


def test_a_worker_that_cannot_be_started_for_a_while_is_started_later(slow: RunningServer) -> None:
    start = len(slow.logs.records)
    supervisor = psutil.Process(slow.pid)
    before = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (8, before[1]))
    worker_of(slow).kill()
    until(
        lambda: _reasons(slow, start) >= {"SIGKILL", "cannot be started: Too many open files"},
        seconds=5,
        what="it",
    )
    supervisor.rlimit(psutil.RLIMIT_NOFILE, before)
    until(lambda: health(slow) == "SERVING", seconds=10, what="a new worker")


def _reasons(server: RunningServer, start: int) -> set[str]:
    return {record["reason"] for record in server.logs.records[start:] if record["event"] == "child_ended"}


def test_5_a_dead_frontend_is_replaced_and_no_counter_falls() -> None:
    with service("m=stub:dimension=8", "--frontends=2") as server:
        sent = 0
        for _ in range(6):
            with open_stub(server) as stub:
                embed(stub, "a", "b")
            sent += 1
        before = {process.pid for process in server.processes("altclip-frontend")}
        assert len(before) == 2
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        server.processes("altclip-frontend 0")[0].kill()
        listening = len([None for record in server.logs.records if record["event"] == "frontend_listening"])
        assert listening == 2
        until(
            lambda: sum(record["event"] == "frontend_listening" for record in server.logs.records) == 3,
            seconds=10,
            what="a new frontend",
        )
        after = {process.pid for process in server.processes("altclip-frontend")}
        assert len(after & before) == 1
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        for _ in range(12):
            with open_stub(server) as stub:
                embed(stub, "a", "b")
            sent += 1
        assert server.metric("altclip_requests_total", method="EmbedText", code="OK") == sent
        assert server.metric("altclip_items_total", modality="text", outcome="ok") == 2 * sent
        assert server.metric("altclip_worker_restarts_total") == 0


def test_5_what_a_dead_frontend_had_queued_is_never_computed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    source = f"m=stub:dimension=8,service_time=0.5,calls={calls}"
    with service(source, "--batch-tokens=3") as server, open_stub(server) as stub:
        texts = [" ".join([letter] * 70) for letter in "abcdefghijkl"]
        caller = threading.Thread(target=lambda: _fails(stub, *texts))
        caller.start()
        until(lambda: server.metric("altclip_queue_depth") > 4, seconds=10, what="a queue")
        (frontend,) = server.processes("altclip-frontend")
        frontend.kill()
        until(lambda: server.metric("altclip_queue_depth") == 0, seconds=5, what="an empty queue")
        begun = len(calls.read_text().splitlines())
        caller.join(10)
        until(lambda: server.get("/readyz")[0] == 200, seconds=10, what="a new frontend")
        time.sleep(0.6)
        assert len(calls.read_text().splitlines()) == begun < len(texts)
        with open_stub(server) as another:
            assert embed(another).embeddings.count == 1
        assert server.metric("altclip_oldest_inflight_seconds") == 0


def _fails(stub: EmbeddingServiceStub, *texts: str) -> None:
    with pytest.raises(grpc.RpcError):
        embed(stub, *texts)


@pytest.mark.parametrize("stopped", [False, True])
def test_5_nothing_outlives_the_supervisor(stopped: bool) -> None:
    before = leftovers()
    with service("m=stub:dimension=8", "--frontends=2", "--replicas=2") as server:
        children = server.processes()
        assert len(children) == 4
        if stopped:
            for child in children:
                child.suspend()
        supervisor = psutil.Process(server.pid)
        supervisor.kill()
        gone, alive = psutil.wait_procs(children, timeout=2.0)
        assert alive == []
        assert len(gone) == 4
    assert leftovers() <= before


def test_5_nothing_outlives_a_supervisor_that_dies_while_models_load() -> None:
    process, logs = launch("--model", "m=stub:load_time=60")
    try:
        logs.wait_for("frontend_listening", seconds=20)
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=2.0)
        assert alive == []
    finally:
        process.kill()
        process.wait()
