"""1. SIGKILL of the worker in mid-batch: callers hear of it at once, and it is replaced, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from tests.faults.harness import (
    Holds,
    computed,
    die_in_mid_batch,
    embed,
    failure_of,
    health,
    open_stub,
    replacing,
    service,
    worker_of,
)
from tests.server import RunningServer, start_server, until


@pytest.fixture(scope="module")
def holds(tmp_path_factory: pytest.TempPathFactory) -> Holds:
    return Holds.of(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def server(holds: Holds) -> Iterator[RunningServer]:
    with service(f"m=stub:dimension=8,{holds.options}", "--restart-stable=100ms") as running:
        yield running


def test_01_a_worker_that_is_killed_in_mid_batch_is_replaced(server: RunningServer, holds: Holds) -> None:
    die_in_mid_batch(server, holds, psutil.Process.kill)


def test_01_health_is_down_until_the_model_is_loaded_again(server: RunningServer, holds: Holds) -> None:
    assert health(server, "altclip.v1.EmbeddingService/m") == "SERVING"
    restarts = server.metric("altclip_worker_restarts_total")
    holds.load.touch()
    worker_of(server).kill()
    until(lambda: health(server) == "NOT_SERVING", what="health goes down")
    assert health(server, "altclip.v1.EmbeddingService") == "NOT_SERVING"
    assert health(server, "altclip.v1.EmbeddingService/m") == "NOT_SERVING"
    # The supervisor and the frontend notice it each for itself.
    until(lambda: server.get("/readyz")[0] == 503, what="the supervisor knows it, too")
    assert '"m": false' in server.get("/readyz")[1]
    assert server.get("/livez")[0] == 200
    with open_stub(server) as stub, pytest.raises(grpc.RpcError) as refused:
        embed(stub)
    failure = failure_of(refused.value)
    assert (failure.code, failure.reason) == ("UNAVAILABLE", "WORKER_UNAVAILABLE")
    assert failure.retry_seconds > 0
    # Not before a new worker has loaded.
    until(lambda: server.processes("altclip-worker"), what="another worker loads")
    assert health(server) == "NOT_SERVING"
    holds.load.unlink()
    until(lambda: health(server) == "SERVING", what="health comes back")
    assert server.get("/readyz")[0] == 200
    assert server.metric("altclip_worker_restarts_total") == restarts + 1


def test_01_the_successor_takes_over_the_batch_sizes_and_measures_nothing(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    source = f"m=stub:dimension=8,image_size=32,calls={calls},service_time=0.002"
    measured = ("--batch-tokens=0", "--batch-images=0")
    with start_server("--model", source, "--restart-backoff=100ms", *measured) as server:
        before = len(computed(calls))
        assert before > 20
        with replacing(server):
            worker_of(server).kill()
        assert len(computed(calls)) - before <= 3, "only what warms it up"
        sizes = [
            [record[modality] for modality in ("text", "image", "prompt")]
            for record in server.logs.records
            if record["event"] == "batches_sized"
        ]
        assert len(sizes) == 2
        assert sizes[0] == sizes[1]
