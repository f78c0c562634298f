"""1, 8 and 9 over HTTP: a worker that dies, clients that go, deadlines that are too short."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.harness import ROOM, Holds, computed, replacing, service, worker_of
from tests.faults.http_calls import Reply, ask, begun, get
from tests.server import RunningServer, until

THIRTY_FIVE = [f"text {number}" for number in range(35)]
"""A full batch of 154 tokens, about."""


class Stub(NamedTuple):
    """calls: what its encoder computed."""

    server: RunningServer
    calls: Path
    holds: Holds

    def metric(self, name: str, **labels: str) -> float:
        return self.server.metric(name, **labels)


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    folder = tmp_path_factory.mktemp("stub")
    calls, holds = folder / "calls", Holds.of(folder)
    source = f"m=stub:dimension=8,{holds.options},calls={calls}"
    with service(source, "--restart-stable=100ms") as server:
        yield Stub(server, calls, holds)


@pytest.fixture
def busy(stub: Stub) -> Iterator[Stub]:
    """With a call under way whose batch ends when its hold is removed."""
    with ThreadPoolExecutor(1) as threads:
        before = len(computed(stub.calls))
        stub.holds.batch.touch()
        running = threads.submit(ask, stub.server, f"the first at {time.monotonic()}")
        try:
            until(lambda: len(computed(stub.calls)) > before, what="the device is busy")
            yield stub
        finally:
            stub.holds.batch.unlink(missing_ok=True)
        assert running.result().status == 200


def test_08_what_its_client_went_away_from_never_reaches_the_encoder(busy: Stub) -> None:
    before = len(computed(busy.calls))
    gone = busy.metric("altclip_http_requests_total", code="499")
    with ExitStack() as connections:
        for number in range(5):
            connections.enter_context(begun(busy.server, f"given up {number}", f"{number} too"))
        until(lambda: busy.metric("altclip_queue_depth") == 10, what="all are queued")
    until(lambda: busy.metric("altclip_queue_depth") == 0, what="nothing is queued")
    until(lambda: busy.metric("altclip_slots_in_use") == 1, what="their slots are free")
    until(
        lambda: busy.metric("altclip_http_requests_total", code="499") == gone + 5,
        what="all are counted",
    )
    busy.holds.batch.unlink()
    assert ask(busy.server, "after them").status == 200
    assert computed(busy.calls)[before:] == [1]


def test_09_what_expires_in_the_queue_never_reaches_the_encoder(busy: Stub) -> None:
    before = len(computed(busy.calls))
    late = ask(busy.server, "late", "later", seconds=0.4)
    assert (late.status, late.code) == (504, "deadline_too_short")
    assert late.headers["x-should-retry"] == "false"
    in_body = ask(busy.server, "in the body", timeout=0.4)
    assert (in_body.status, in_body.code) == (504, "deadline_too_short")
    until(lambda: busy.metric("altclip_queue_depth") == 0, what="its time is up there, too")
    busy.holds.batch.unlink()
    assert ask(busy.server, "no hurry").status == 200
    assert computed(busy.calls)[before:] == [1]


def test_01_callers_of_a_worker_that_is_killed_hear_of_it_at_once(stub: Stub) -> None:
    server, before = stub.server, len(computed(stub.calls))
    accepted = stub.metric("altclip_items_accepted_total")
    stub.holds.batch.touch()
    stub.holds.load.touch()
    with replacing(server), ThreadPoolExecutor(8) as threads:
        calls: list[Future[Reply]] = [threads.submit(ask, server, f"mid {n}", f"batch {n}") for n in range(8)]
        until(lambda: len(computed(stub.calls)) > before, what="a batch is under way")
        until(
            lambda: stub.metric("altclip_items_accepted_total") == accepted + 16,
            what="all calls are under way",
        )
        killed = time.monotonic()
        worker_of(server).kill()
        replies = [call.result() for call in calls]
        stub.holds.batch.unlink()
        stub.holds.load.unlink()
    assert [(reply.status, reply.code) for reply in replies] == [(503, "worker_unavailable")] * 8
    assert all(reply.says_when_to_come_again() for reply in replies)
    assert max(reply.ended for reply in replies) - killed < 1.0 + ROOM
    until(lambda: get(server, "/readyz").status == 200, what="HTTP says that it is ready")
    assert ask(server, "after it").status == 200


def test_09_a_deadline_shorter_than_the_expected_wait_is_refused_at_once(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    source = f"m=stub:dimension=8,service_time=0.8,hold={hold}"
    with service(source, "--batch-tokens=154") as server, ThreadPoolExecutor(5) as threads:
        assert ask(server, *THIRTY_FIVE).status == 200  # it has seen what a batch takes
        hold.touch()  # the queue stands still until the test has seen enough
        others = [[text.replace("text", f"other{n}") for text in THIRTY_FIVE] for n in range(5)]
        calls = [threads.submit(ask, server, *texts) for texts in others]
        until(
            lambda: server.metric("altclip_items_accepted_total") == 6 * len(THIRTY_FIVE),
            what="four seconds of work",
        )
        refused = ask(server, "hurry", seconds=1.5)
        assert (refused.status, refused.code) == (504, "deadline_too_short")
        hold.unlink()
        assert all(call.result().status == 200 for call in calls)
        # What was refused was never an item of the queue.
        assert server.metric("altclip_items_accepted_total") == 6 * len(THIRTY_FIVE)
