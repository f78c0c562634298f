"""The worker's end of its links, over real sockets: who reads what, and that nothing is left unheard."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.server import until
from tests.worker.engine.test_batcher import policy
from worker.engine.intake import Intake
from worker.engine.jobs import Job
from worker.engine.queue import JobQueue
from worker.runtime.control import Channel
from worker.runtime.notices import (
    CANCEL,
    Modality,
    Priority,
    Request,
    Result,
    pack_requests,
    receive,
    unpack_results,
)
from worker.runtime.slab import Slab, SlabLayout, send_slab


class Frontend:
    """The other end of one link."""

    def __init__(self, supervisor: Channel) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            supervisor.send("link", {}, [theirs.fileno()])
        layout = SlabLayout((64, 64, 64), (4096, 1, 1))
        _, descriptor = Slab.create(layout)
        send_slab(self.socket, layout, descriptor)
        os.close(descriptor)

    def ask(self, job_id: int, priority: Priority = Priority.INTERACTIVE) -> None:
        now = time.monotonic()
        self._send(Request(job_id, now, math.inf, job_id, 1, Modality.TEXT, priority, 0))

    def take_back(self, job_id: int) -> None:
        self._send(Request(job_id, 0.0, 0.0, 0, 0, CANCEL, 0, 0))

    def _send(self, request: Request) -> None:
        (packet,) = pack_requests([request])
        self.socket.send(packet)


class Worker:
    """An intake and its queue, as the engine sees them."""

    def __init__(self) -> None:
        self.supervisor, self._end = Channel.pair()
        self.depth = dict.fromkeys(Modality, 0)
        self.queue = JobQueue(policy(), self.depth.__setitem__)
        self.intake = Intake(Channel(self._end), self.queue)

    def close(self) -> None:
        """What the end of its process does."""
        for link in self.intake._links.values():
            link.close()
        self.intake._selector.close()
        self.supervisor.close()
        self._end.close()

    def jobs(self) -> Sequence[Job]:
        return self.queue.take().jobs


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def frontend(worker: Worker) -> Iterator[Frontend]:
    frontend = Frontend(worker.supervisor)
    with frontend.socket:
        worker.intake.read()
        yield frontend


def reading(worker: Worker) -> threading.Thread:
    """The engine, which waits until something comes."""
    thread = threading.Thread(target=worker.intake.read, args=[math.inf], daemon=True)
    thread.start()
    return thread


def test_whoever_waits_is_woken_by_what_comes_and_gets_all_that_has_come(
    worker: Worker, frontend: Frontend
) -> None:
    engine = reading(worker)
    time.sleep(0.05)
    assert engine.is_alive()
    frontend.ask(1)
    engine.join(60)
    frontend.ask(2, Priority.BULK)
    frontend.ask(3)
    frontend.take_back(1)
    worker.intake.read(math.inf)
    assert [job.id for job in worker.jobs()] == [3, 2]


def test_whoever_reads_next_does_not_wait_for_what_another_took_in(
    worker: Worker, frontend: Frontend
) -> None:
    worker.intake.read()
    frontend.ask(1)
    worker.intake.look_in()
    assert worker.depth[Modality.TEXT] == 1
    engine = reading(worker)
    engine.join(60)
    assert not engine.is_alive()
    assert [job.id for job in worker.jobs()] == [1]


def test_nobody_looks_in_while_somebody_reads(worker: Worker, frontend: Frontend) -> None:
    engine = reading(worker)
    until(worker.intake._lock.locked, seconds=60, what="it reads")
    worker.intake.look_in()
    assert engine.is_alive()
    frontend.ask(1)
    engine.join(60)
    assert [job.id for job in worker.jobs()] == [1]


@pytest.mark.parametrize("looked_in", [False, True])
def test_a_drain_wakes_whoever_waits(worker: Worker, looked_in: bool) -> None:
    worker.supervisor.send("drain")
    if looked_in:
        worker.intake.look_in()
        assert worker.queue.ended
    engine = reading(worker)
    engine.join(60)
    assert not engine.is_alive()
    assert worker.queue.ended


def test_what_a_frontend_does_not_take_now_it_gets_later(worker: Worker, frontend: Frontend) -> None:
    frontend.ask(1)
    worker.intake.read()
    (job,) = worker.jobs()
    sent = 0
    while not job.origin.has_unsent:  # type: ignore[attr-defined]
        job.origin.send([Result(sent, 0.0, 0.0, 1, 0)])
        sent += 1
    job.origin.send([Result(sent, 0.0, 0.0, 1, 0), Result(sent + 1, 0.0, 0.0, 1, 0)])
    frontend.socket.setblocking(False)
    got: list[int] = []
    end = time.monotonic() + 60
    while len(got) < sent + 2:
        assert time.monotonic() < end
        while (packet := receive(frontend.socket)) is not None:
            got += [result.id for result in unpack_results(packet)]
        worker.intake.read(0.01)
    assert got == [*range(sent + 2)]


def test_what_a_frontend_that_is_gone_had_asked_for_is_forgotten(worker: Worker, frontend: Frontend) -> None:
    frontend.ask(1)
    worker.intake.read()
    frontend.socket.close()
    worker.intake.read(60.0)
    assert worker.depth[Modality.TEXT] == 0
    assert worker.jobs() == ()
