"""2. SIGSEGV or abort() in native code: the worker ends alone, and the log tells where it was."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.faults.harness import ROOM, die_in_mid_batch, embed, failure_of, open_stub, replacing, service
from tests.server import RunningServer


@pytest.fixture(scope="module")
def slow() -> Iterator[RunningServer]:
    """Batches of half a second, and words that end the worker from within."""
    source = "m=stub:dimension=8,service_time=0.5,load_time=0.5,abort=boom,segfault=bang"
    with service(source, "--restart-stable=100ms") as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_02_a_worker_that_crashes_in_mid_batch_is_replaced(
    slow: RunningServer, number: signal.Signals
) -> None:
    die_in_mid_batch(slow, lambda worker: worker.send_signal(number))


@pytest.mark.parametrize(("word", "reason"), [("boom", "SIGABRT"), ("bang", "SIGSEGV")])
def test_02_native_code_that_crashes_ends_its_worker_alone(
    slow: RunningServer, word: str, reason: str
) -> None:
    start = len(slow.logs.records)
    restarts = slow.metric("altclip_worker_restarts_total")
    others = {process.pid for process in slow.processes("altclip-frontend")}
    with replacing(slow), open_stub(slow) as stub:
        called = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, word)
        assert time.monotonic() - called < 1.0 + ROOM
        failure = failure_of(failed.value)
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")
        assert failure.retry_seconds > 0
    with open_stub(slow) as stub:
        assert embed(stub).embeddings.count == 1
    assert slow.metric("altclip_worker_restarts_total") == restarts + 1
    assert {process.pid for process in slow.processes("altclip-frontend")} == others
    ended = slow.logs.wait_for("child_ended", seconds=20, start=start)
    assert ended["reason"] == reason
    # The log tells where, without a core file that would hold what callers sent.
    assert "stub.py" in ended["traceback"]
