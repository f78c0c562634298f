"""2. SIGSEGV or abort() in native code: the worker ends alone, and the log tells where it was."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.faults.harness import (
    ROOM,
    Holds,
    die_in_mid_batch,
    embed,
    failure_of,
    open_stub,
    replacing,
    service,
)
from tests.server import RunningServer


@pytest.fixture(scope="module")
def holds(tmp_path_factory: pytest.TempPathFactory) -> Holds:
    return Holds.of(tmp_path_factory.mktemp("crash"))


@pytest.fixture(scope="module")
def server(holds: Holds) -> Iterator[RunningServer]:
    """With words that end the worker from within."""
    source = f"m=stub:dimension=8,{holds.options},abort=boom,segfault=bang"
    with service(source, "--restart-stable=100ms") as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_02_a_worker_that_crashes_in_mid_batch_is_replaced(
    server: RunningServer, holds: Holds, number: signal.Signals
) -> None:
    die_in_mid_batch(server, holds, lambda worker: worker.send_signal(number))


@pytest.mark.parametrize(("word", "reason"), [("boom", "SIGABRT"), ("bang", "SIGSEGV")])
def test_02_native_code_that_crashes_ends_its_worker_alone(
    server: RunningServer, word: str, reason: str
) -> None:
    start = len(server.logs.records)
    restarts = server.metric("altclip_worker_restarts_total")
    others = {process.pid for process in server.processes("altclip-frontend")}
    with replacing(server), open_stub(server) as stub:
        called = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, word)
        assert time.monotonic() - called < 1.0 + ROOM
        failure = failure_of(failed.value)
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")
        assert failure.retry_seconds > 0
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1
    assert server.metric("altclip_worker_restarts_total") == restarts + 1
    assert {process.pid for process in server.processes("altclip-frontend")} == others
    ended = server.logs.wait_for("child_ended", start=start)
    assert ended["reason"] == reason
    # The log tells where, without a core file that would hold what callers sent.
    assert "stub.py" in ended["traceback"]
