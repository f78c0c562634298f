"""A model that could compute and cannot any more, whatever is asked of it, without an error of its device.

Its worker would stay ready and fail every call; it is replaced. Items that fail by themselves replace nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.faults.harness import embed, failure_of, health, open_stub, service, worker_of
from tests.server import RunningServer, until
from worker.engine.engine import FAILED_IN_A_ROW


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists nothing can be computed, by this worker or another."""
    return tmp_path_factory.mktemp("broken") / "broken"


@pytest.fixture(scope="module")
def server(broken: Path) -> Iterator[RunningServer]:
    options = ("--restart-limit=1000", "--restart-stable=100ms")
    with service(f"m=stub:dimension=8,poison=bad,broken={broken}", *options) as running:
        yield running


def test_a_worker_that_computes_nothing_any_more_is_replaced(server: RunningServer, broken: Path) -> None:
    worker, start = worker_of(server), len(server.logs.records)
    with open_stub(server) as stub:
        expected = embed(stub, "a").embeddings
        broken.touch()
        for number in range(FAILED_IN_A_ROW):
            with pytest.raises(grpc.RpcError) as failed:
                embed(stub, f"text {number}")
            assert failure_of(failed.value).code == "INTERNAL"
        logged = server.logs.wait_for("encoder_broken", start=start)
        assert "nothing can be computed" in logged["traceback"]
        until(lambda: not worker.is_running(), what="the worker ends")
        until(lambda: health(server) == "NOT_SERVING", what="health goes down")
        broken.unlink()
        until(lambda: health(server) == "SERVING", what="another worker is ready")
        assert embed(stub, "a").embeddings == expected
    assert worker_of(server).pid != worker.pid


def test_a_batch_of_items_that_fail_replaces_a_worker_as_one_by_one_do(
    server: RunningServer, broken: Path
) -> None:
    worker, start = worker_of(server), len(server.logs.records)
    with open_stub(server) as stub:
        broken.touch()
        with pytest.raises(grpc.RpcError):
            embed(stub, *(f"text {number}" for number in range(2 * FAILED_IN_A_ROW)))
        server.logs.wait_for("encoder_broken", start=start)
        until(lambda: not worker.is_running(), what="the worker ends")
        broken.unlink()
        until(lambda: health(server) == "SERVING", what="another worker is ready")


def test_bad_items_in_a_row_replace_no_worker(server: RunningServer) -> None:
    worker, start = worker_of(server), len(server.logs.records)
    with open_stub(server) as stub:
        for number in range(2 * FAILED_IN_A_ROW + 1):
            with pytest.raises(grpc.RpcError) as failed:
                embed(stub, f"bad {number}")
            assert failure_of(failed.value).code == "INTERNAL"
        assert embed(stub, "good").embeddings.count == 1
    assert worker_of(server).pid == worker.pid

    def events() -> list[str]:
        return [record["event"] for record in server.logs.records[start:]]

    until(lambda: events().count("item_failed") == 2 * FAILED_IN_A_ROW + 1, what="each is logged")
    assert "encoder_broken" not in events()
