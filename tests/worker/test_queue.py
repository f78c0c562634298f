"""The queue between the intake and the engine."""

from __future__ import annotations

import threading
import time

from tests.worker.test_batcher import job, policy
from worker.jobs import Modality
from worker.queue import JobQueue


def make() -> tuple[JobQueue, dict[Modality, int]]:
    depth: dict[Modality, int] = {}
    return JobQueue(policy(), depth.__setitem__), depth


def test_jobs_leave_in_batches_and_the_depth_follows() -> None:
    queue, depth = make()
    jobs = [job(cost=50) for _ in range(3)]
    queue.put(jobs)
    assert depth[Modality.TEXT] == 3
    assert queue.take(block=True) == (jobs[:2], [])
    assert depth[Modality.TEXT] == 1
    assert queue.take(block=True) == (jobs[2:], [])
    assert queue.take(block=False) == ((), [])
    assert depth[Modality.TEXT] == 0


def test_a_cancelled_job_is_never_taken() -> None:
    queue, depth = make()
    first, second = job(), job()
    queue.put([first, second])
    assert queue.cancel(0, first.id)
    assert depth[Modality.TEXT] == 1
    assert queue.take(block=True) == ([second], [])


def test_a_job_that_was_taken_cannot_be_cancelled() -> None:
    queue, _ = make()
    only = job()
    queue.put([only])
    queue.take(block=True)
    assert not queue.cancel(0, only.id)


def test_the_jobs_of_a_frontend_that_is_gone_are_dropped() -> None:
    queue, depth = make()
    queue.put([job(), job()])
    queue.drop_origin(0)
    assert depth[Modality.TEXT] == 0
    assert queue.take(block=False) == ((), [])


def test_a_job_that_is_too_late_is_reported_once() -> None:
    queue, depth = make()
    late = job(deadline=time.monotonic() - 1)
    queue.put([late])
    assert queue.take(block=True) == ((), [late])
    assert depth[Modality.TEXT] == 0
    assert queue.take(block=False) == ((), [])


def test_take_waits_for_a_job() -> None:
    queue, _ = make()
    only = job()
    threading.Timer(0.05, queue.put, [[only]]).start()
    assert queue.take(block=True) == ([only], [])


def test_a_closed_queue_gives_what_is_left_and_then_none() -> None:
    queue, _ = make()
    only = job()
    queue.put([only])
    queue.close()
    assert queue.take(block=True) == ([only], [])
    assert queue.take(block=True) is None


def test_closing_wakes_whoever_waits() -> None:
    queue, _ = make()
    threading.Timer(0.05, queue.close).start()
    assert queue.take(block=True) is None
