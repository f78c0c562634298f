"""The batch decision: which jobs run next, a function of what is queued and the time. No I/O, no clock.

The rules, in their order:
    1. A job whose deadline has passed or whose caller has gone is never computed.
    2. The modality that runs is the one whose turn is oldest: an interactive job's turn is when it was
       submitted, a bulk job's is `bulk_patience` later, counted again from each time its modality ran. So
       interactive work goes first and bulk still moves.
    3. Within it interactive jobs go before bulk jobs, oldest first, until the budget (cost or items) is full.
       Where bulk has waited longer than its patience, its oldest job runs for certain and an eighth of the
       budget is kept for it.
    4. While there is interactive traffic, whether any of it waits just now or not, bulk jobs take up no more
       of a batch than its `bulk`: who comes next shall not wait for a batch that is long because of them.
    5. A batch that is not full waits for company until one of its jobs is `wait` old, or has waited for half
       of the time that it has to spare before its deadline. By default no batch waits: they form while the
       device is busy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.engine.jobs import Job
from worker.runtime.notices import BULK_SHARE, Modality, Priority

__all__ = ["Budget", "Decision", "Policy", "decide"]

_PRIORITIES = tuple(Priority)  # to go through an enum takes a microsecond
_NOTHING_RAN: Mapping[Modality, float] = {}


@dataclass(frozen=True, slots=True)
class Budget:
    """What one batch may hold.

    cost: tokens for text and prompts, images for images; a batch may always hold one job. bulk: the same, for
    bulk jobs while there is interactive traffic; 0 means an eighth of `cost`.
    """

    cost: int
    items: int
    bulk: int = 0

    @property
    def beside(self) -> int:
        """The cost of bulk jobs beside interactive traffic."""
        return self.bulk or max(1, self.cost // BULK_SHARE)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules' numbers.

    budgets: for each modality. wait, bulk_patience: seconds, as in the rules above. traffic: seconds after an
    interactive job during which others are expected.
    """

    budgets: Mapping[Modality, Budget]
    wait: float = 0.0
    bulk_patience: float = 0.25
    traffic: float = 1.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    jobs: the next batch, all of one modality; may be empty. expired: jobs that are never computed, because
    they are too late or were cancelled. wake_at: when to decide again if no job arrives; infinite when only a
    new job can change the answer.
    """

    jobs: Sequence[Job] = ()
    expired: Sequence[Job] = ()
    wake_at: float = math.inf


Lanes = Mapping[Modality, Sequence[Collection[Job]]]
"""The queued jobs: for each modality one lane per Priority, each oldest first."""


def decide(
    lanes: Lanes,
    served: Mapping[Modality, float],
    policy: Policy,
    now: float,
    interactive: float = -math.inf,
    took: Mapping[Modality, float] = _NOTHING_RAN,
) -> Decision:
    """The next batch. `served`: when each modality last ran, time.monotonic() seconds like `now`.
    `interactive`: when the last interactive job was submitted. `took`: how many seconds each modality's last
    batch took."""
    turns: list[tuple[float, Modality]] = []
    expired: dict[Job, None] = {}
    for modality, by_priority in lanes.items():
        for priority in _PRIORITIES:
            lane = by_priority[priority]
            head = next(_alive(lane, now, expired), None) if lane else None
            if head is None:
                continue
            turn = head.submitted
            if priority is Priority.BULK:
                turn = max(turn, served.get(modality, 0.0)) + policy.bulk_patience
            turns.append((turn, modality))

    wake_at = math.inf
    for modality in dict.fromkeys(modality for _, modality in sorted(turns)):
        budget = policy.budgets[modality]
        most_bulk = budget.beside if now - interactive < policy.traffic else budget.cost
        jobs, full = _fill(lanes[modality], budget, most_bulk, policy.bulk_patience, now, expired)
        if full or policy.wait <= 0:
            return Decision(jobs, tuple(expired))
        ripe_at = min(_ripe_at(job, policy.wait, took.get(modality, 0.0)) for job in jobs)
        if ripe_at <= now:
            return Decision(jobs, tuple(expired))
        wake_at = min(wake_at, ripe_at)
    return Decision((), tuple(expired), wake_at)


def _ripe_at(job: Job, wait: float, seconds: float) -> float:
    """When a job has waited long enough for company. wait: at most. seconds: that a batch takes."""
    spare = job.deadline - job.submitted - seconds
    return job.submitted + min(wait, spare / 2)


def _alive(lane: Iterable[Job], now: float, expired: dict[Job, None]) -> Iterator[Job]:
    """The jobs that can still be done, noting on the way those that cannot."""
    for job in lane:
        if not job.cancelled and job.deadline > now:
            yield job
        else:
            expired[job] = None


def _fill(
    by_priority: Sequence[Iterable[Job]],
    budget: Budget,
    most_bulk: int,
    patience: float,
    now: float,
    expired: dict[Job, None],
) -> tuple[list[Job], bool]:
    """The batch of one modality, and whether it is full."""
    interactive = _alive(by_priority[Priority.INTERACTIVE], now, expired)
    bulk = _alive(by_priority[Priority.BULK], now, expired)
    jobs: list[Job] = []
    kept = 0
    first_bulk, first_interactive = next(bulk, None), next(interactive, None)
    if first_bulk is not None and now - first_bulk.submitted > patience:
        # Its oldest job is in for certain, unless the budget is too small for both kinds: then the callers
        # that wait win.
        needed = first_bulk.cost + (first_interactive.cost if first_interactive else 0)
        if budget.items > 1 and needed <= budget.cost:
            jobs.append(first_bulk)
            first_bulk = None
            kept = max(0, min(budget.cost // BULK_SHARE, most_bulk) - jobs[0].cost)
    cost = bulk_cost = sum(job.cost for job in jobs)
    full = False
    for first, rest in ((first_interactive, interactive), (first_bulk, bulk)):
        room = budget.cost - kept
        if rest is bulk:
            room = min(budget.cost, cost + most_bulk - bulk_cost)
        for job in itertools.chain(() if first is None else (first,), rest):
            if jobs and (cost + job.cost > room or len(jobs) >= budget.items):
                full = True
                break
            jobs.append(job)
            cost += job.cost
    return jobs, full or cost >= budget.cost or len(jobs) >= budget.items
