"""The queue of one worker: filled by its intake, emptied by its engine. No torch.

It holds the jobs that `batcher.decide` looks at, and applies the decision; the rules stand in batcher.py.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from worker.engine.batcher import Policy, decide
from worker.engine.jobs import Job
from worker.runtime.notices import Modality, Priority

__all__ = ["JobQueue", "Taken"]


class Taken(NamedTuple):
    """What left the queue.

    jobs: the next batch. late: jobs whose deadline passed before they got into a batch. wait: seconds until
    the queue must be asked again if both are empty and no job comes; may be infinite.
    """

    jobs: Sequence[Job]
    late: Sequence[Job]
    wait: float


class JobQueue:
    """Thread-safe. A job leaves it once: by `take`, by `cancel`, or with its origin."""

    def __init__(self, policy: Policy, depth_changed: Callable[[Modality, int], None]) -> None:
        """depth_changed: told how many of a modality wait, under the queue's lock."""
        self.policy = policy
        self._depth_changed = depth_changed
        self._lanes: dict[Modality, tuple[deque[Job], ...]] = {
            m: tuple(deque() for _ in Priority) for m in Modality
        }
        self._waiting: dict[tuple[int, int], Job] = {}
        self._depth = dict.fromkeys(Modality, 0)
        self._served: dict[Modality, float] = {}
        self._took: dict[Modality, float] = {}
        self._interactive = -math.inf
        self._lock = threading.Lock()
        self._closed = False

    def put(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            for job in jobs:
                self._lanes[job.modality][job.priority].append(job)
                if job.priority is Priority.INTERACTIVE:
                    self._interactive = job.submitted
                self._waiting[job.origin.index, job.id] = job
                self._depth[job.modality] += 1
            self._tell(jobs)

    def cancel(self, origin: int, job_id: int) -> bool:
        """Removes a job. Returns whether it was still waiting; if not, its result is on the way."""
        with self._lock:
            job = self._waiting.get((origin, job_id))
            if job is None:
                return False
            self._strike_out(job)
            self._tell([job])
            return True

    def drop_origin(self, origin: int) -> None:
        """Forgets everything that a frontend which is gone had asked for."""
        with self._lock:
            dropped = [job for job in self._waiting.values() if job.origin.index == origin]
            for job in dropped:
                self._strike_out(job)
            self._tell(dropped)

    def close(self) -> None:
        """Nothing more is put in; it ends when it is empty."""
        self._closed = True

    @property
    def empty(self) -> bool:
        """Whether no job waits."""
        return not self._waiting

    @property
    def ended(self) -> bool:
        """Whether it was closed and is empty."""
        return self._closed and not self._waiting

    def take(self) -> Taken:
        """The next batch, if it is time for one."""
        with self._lock:
            if not self._waiting:
                self._clear()
                return Taken((), [], math.inf)
            now = time.monotonic()
            decision = decide(self._lanes, self._served, self.policy, now, self._interactive, self._took)
            late = self._remove(decision.jobs, decision.expired)
            if decision.jobs:
                self._served[decision.jobs[0].modality] = now
            return Taken(decision.jobs, late, decision.wake_at - now)

    def took(self, modality: Modality, seconds: float) -> None:
        """A batch has ended, so many seconds after it began."""
        self._took[modality] = seconds

    def _clear(self) -> None:
        # What is left in a lane when nothing waits was cancelled.
        for lanes in self._lanes.values():
            for lane in lanes:
                lane.clear()

    def _remove(self, jobs: Sequence[Job], expired: Sequence[Job]) -> list[Job]:
        # The decision looks at each lane from its head and stops at the first job it leaves there, so that
        # what it took is always at the head. What it struck out may be behind a job that waits for company.
        late = [job for job in expired if not job.cancelled]
        for job in jobs:
            self._forget(job)
        for job in late:
            self._strike_out(job)
        self._tell([*jobs, *late])
        gone = {*jobs, *expired}
        if gone:
            for lanes in self._lanes.values():
                for lane in lanes:
                    while lane and lane[0] in gone:
                        lane.popleft()
        return late

    def _strike_out(self, job: Job) -> None:
        """It waits no more and is never computed; a lane lets it go when it comes to its head."""
        self._forget(job)
        job.cancelled = True

    def _forget(self, job: Job) -> None:
        del self._waiting[job.origin.index, job.id]
        self._depth[job.modality] -= 1

    def _tell(self, jobs: Sequence[Job]) -> None:
        """These jobs have come or gone: tells the new depths, each once."""
        for modality in {job.modality for job in jobs}:
            self._depth_changed(modality, self._depth[modality])
