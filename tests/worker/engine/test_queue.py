"""The queue between the intake and the engine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from tests.worker.engine.test_batcher import job, policy
from worker.engine.jobs import Job
from worker.engine.queue import JobQueue
from worker.runtime.notices import Modality


def make() -> tuple[JobQueue, dict[Modality, int]]:
    depth: dict[Modality, int] = {}
    return JobQueue(policy(), depth.__setitem__), depth


def taken(queue: JobQueue) -> tuple[Sequence[Job], Sequence[Job]]:
    """The batch, and who was too late."""
    return queue.take()[:2]


def test_jobs_leave_in_batches_and_the_depth_follows() -> None:
    queue, depth = make()
    jobs = [job(cost=50) for _ in range(3)]
    queue.put(jobs)
    assert depth[Modality.TEXT] == 3
    assert taken(queue) == (jobs[:2], [])
    assert depth[Modality.TEXT] == 1
    assert taken(queue) == (jobs[2:], [])
    assert taken(queue) == ((), [])
    assert depth[Modality.TEXT] == 0


def test_the_depth_is_told_once_for_jobs_that_come_or_go_together() -> None:
    told: list[tuple[Modality, int]] = []
    queue = JobQueue(policy(), lambda modality, depth: told.append((modality, depth)))
    queue.put([job(cost=50) for _ in range(3)])
    queue.take()
    assert told == [(Modality.TEXT, 3), (Modality.TEXT, 1)]


def test_a_cancelled_job_is_never_taken() -> None:
    queue, depth = make()
    first, second = job(), job()
    queue.put([first, second])
    assert queue.cancel(0, first.id)
    assert depth[Modality.TEXT] == 1
    assert taken(queue) == ([second], [])


def test_a_job_that_was_taken_cannot_be_cancelled() -> None:
    queue, _ = make()
    only = job()
    queue.put([only])
    queue.take()
    assert not queue.cancel(0, only.id)


def test_the_jobs_of_a_frontend_that_is_gone_are_dropped() -> None:
    queue, depth = make()
    queue.put([job(), job()])
    queue.drop_origin(0)
    assert depth[Modality.TEXT] == 0
    assert taken(queue) == ((), [])


def test_a_job_that_is_too_late_is_reported_once() -> None:
    queue, depth = make()
    late = job(deadline=time.monotonic() - 1)
    queue.put([late])
    assert taken(queue) == ((), [late])
    assert depth[Modality.TEXT] == 0
    assert taken(queue) == ((), [])


def test_a_job_that_is_too_late_behind_one_that_waits_for_company_is_reported_once() -> None:
    queue, depth = make()
    queue.policy = policy(wait=30.0)
    waiting = job(submitted=time.monotonic())
    late = job(submitted=time.monotonic(), deadline=time.monotonic() - 1)
    queue.put([waiting, late])
    assert taken(queue) == ((), [late])
    assert taken(queue) == ((), [])
    assert depth[Modality.TEXT] == 1
    queue.policy = policy()
    assert taken(queue) == ([waiting], [])
    assert depth[Modality.TEXT] == 0


def test_it_says_when_a_batch_that_waits_for_company_is_due() -> None:
    queue, _ = make()
    assert queue.take().wait == math.inf
    queue.policy = policy(wait=30.0)
    only = job(submitted=time.monotonic())
    queue.put([only])
    assert taken(queue) == ((), [])
    wait = queue.take().wait
    assert 30.0 - (time.monotonic() - only.submitted) <= wait <= 30.0


def test_a_closed_queue_gives_what_is_left_and_ends() -> None:
    queue, _ = make()
    only = job()
    queue.put([only])
    assert not queue.ended
    queue.close()
    assert not queue.ended
    assert taken(queue) == ([only], [])
    assert queue.ended


def test_a_job_that_has_no_more_time_than_a_batch_takes_does_not_wait_for_company() -> None:
    queue = JobQueue(policy(wait=1000), lambda modality, depth: None)
    only = job(submitted=time.monotonic(), deadline=time.monotonic() + 2000)
    queue.put([only])
    assert taken(queue) == ((), [])
    queue.took(Modality.IMAGE, 3000)
    assert taken(queue) == ((), [])
    queue.took(Modality.TEXT, 3000)
    assert taken(queue) == ([only], [])
