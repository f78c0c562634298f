"""18. A sticky device error: no later batch on that device can succeed, so its worker is replaced at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.faults.harness import (
    ROOM,
    Holds,
    crew,
    embed,
    failure_of,
    health,
    open_stub,
    replacing,
    service,
    under_way,
    worker_of,
)
from tests.server import RunningServer, until


@pytest.fixture(scope="module")
def holds(tmp_path_factory: pytest.TempPathFactory) -> Holds:
    return Holds.of(tmp_path_factory.mktemp("lost"))


@pytest.fixture(scope="module")
def server(holds: Holds) -> Iterator[RunningServer]:
    """Two models, one of which has a word that its device does not survive."""
    broken = f"m=stub:dimension=8,lost=gone,{holds.options}"
    with service(broken, "--model=n=stub:dimension=8", "--restart-stable=100ms") as running:
        yield running


def test_18_the_worker_is_replaced_and_readiness_drops_meanwhile(server: RunningServer, holds: Holds) -> None:
    label = {"model": "m", "device": "cpu"}
    restarts = server.metric("altclip_worker_restarts_total", **label)
    before, worker, start = crew(server), worker_of(server), len(server.logs.records)
    with open_stub(server) as stub:
        expected = embed(stub, "a", model="m").embeddings
        holds.load.touch()
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            embed(stub, "a", "gone", model="m")
        assert time.monotonic() - began < 1.0 + ROOM
        failure = failure_of(failed.value)
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")
        assert failure.retry_seconds > 0
        assert "device" not in failure.sent
        # Down for this model and for the whole, as long as it takes to load it; not for the other model.
        until(lambda: health(server) == "NOT_SERVING", what="health goes down")
        assert health(server, "altclip.v1.EmbeddingService/m") == "NOT_SERVING"
        assert health(server, "altclip.v1.EmbeddingService/n") == "SERVING"
        # The supervisor and the frontend notice it each for itself.
        until(lambda: server.get("/readyz")[0] == 503, what="the supervisor knows it, too")
        assert server.get("/livez")[0] == 200
        assert server.metric("altclip_worker_up", **label) == 0
        with pytest.raises(grpc.RpcError) as refused:
            embed(stub, "a", model="m")
        assert failure_of(refused.value).retry_seconds > 0
        assert embed(stub, "a", model="n").embeddings.count == 1
        until(lambda: server.processes("altclip-worker m"), what="another worker loads")
        assert health(server) == "NOT_SERVING"
        holds.load.unlink()
        until(lambda: health(server) == "SERVING", what="another worker is ready")
        assert server.get("/readyz")[0] == 200
        assert embed(stub, "a", model="m").embeddings == expected
    assert server.metric("altclip_worker_restarts_total", **label) == restarts + 1
    assert crew(server) - before == {worker_of(server).pid}
    assert not worker.is_running()
    logged = server.logs.wait_for("device_lost", start=start)
    assert "DeviceLost" in logged["traceback"]


def test_18_whoever_waits_for_that_device_is_told_at_once(server: RunningServer, holds: Holds) -> None:
    ended: list[tuple[str, str, float]] = []

    def call(text: str) -> None:
        try:
            embed(stub, text, model="m")
        except grpc.RpcError as error:
            failure = failure_of(error)
            ended.append((failure.code, failure.reason, time.monotonic()))

    accepted = server.metric("altclip_items_accepted_total", model="m")
    holds.batch.touch()
    holds.load.touch()
    with replacing(server), open_stub(server) as stub:
        callers = [threading.Thread(target=call, args=(text,)) for text in ("first", "gone", *"abcdef")]
        callers[0].start()
        under_way(server)
        for caller in callers[1:]:
            caller.start()
        until(
            lambda: server.metric("altclip_items_accepted_total", model="m") == accepted + len(callers),
            what="all calls are under way",
        )
        holds.batch.unlink()
        for caller in callers:
            caller.join(60)
        holds.load.unlink()
    # The first was being computed when the others came, and has its answer.
    assert {(code, reason) for code, reason, _ in ended} == {("UNAVAILABLE", "WORKER_UNAVAILABLE")}
    assert len(ended) == 7
    times = [moment for _, _, moment in ended]
    assert max(times) - min(times) < 1.0 + ROOM
