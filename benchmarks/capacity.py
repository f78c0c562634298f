"""How many replicas a load needs: a simulation of one host's workers that calls the real batch decision,
`worker.engine.batcher.decide`, with a clock of its own.

    arrivals (Poisson or bursts) ─▶ the worker with the least load ─▶ its lanes ─▶ decide ─▶ device's seconds

A `Device` says how long a batch takes; who goes first and what a batch holds is the service's own code.
`python -m benchmarks.capacity` prints the tables of docs/capacity.md.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from worker.engine.batcher import Budget, Policy, decide
from worker.engine.intake import FrontendLink
from worker.engine.jobs import Job
from worker.runtime.notices import Modality, Priority

__all__ = ["Device", "Done", "bursts", "jobs", "largest_rate", "poisson", "simulate"]

NOBODY: FrontendLink = object.__new__(FrontendLink)
"""Simulated jobs are answered to no one."""


@dataclass(frozen=True, slots=True)
class Device:
    """Seconds that a batch takes, an item, and a unit of cost (a token of text, an image)."""

    batch: float
    item: float = 0.0
    cost: float = 0.0

    def seconds(self, jobs: Sequence[Job]) -> float:
        return self.batch + self.item * len(jobs) + self.cost * sum(job.cost for job in jobs)


@dataclass(frozen=True, slots=True)
class Done:
    """A job, when its batch was begun and when it was done, and which batch of its worker that was."""

    job: Job
    started: float
    ended: float
    batch: int

    @property
    def latency(self) -> float:
        return self.ended - self.job.submitted


@dataclass(slots=True)
class _Worker:
    lanes: Mapping[Modality, Sequence[deque[Job]]] = field(
        default_factory=lambda: {modality: tuple(deque() for _ in Priority) for modality in Modality}
    )
    served: dict[Modality, float] = field(default_factory=dict)
    running: Sequence[Job] = ()
    waiting: int = 0
    batches: int = 0
    interactive: float = -math.inf
    """When the last interactive job came."""

    @property
    def load(self) -> int:
        return self.waiting + len(self.running)

    def put(self, job: Job) -> None:
        """As `JobQueue.put` does it."""
        self.lanes[job.modality][job.priority].append(job)
        self.waiting += 1
        if job.priority is Priority.INTERACTIVE:
            self.interactive = job.submitted

    def next_batch(self, policy: Policy, now: float) -> Sequence[Job]:
        """As `JobQueue.take` and the engine do it."""
        decision = decide(self.lanes, self.served, policy, now, self.interactive)
        gone = {*decision.jobs, *decision.expired}
        for lane in itertools.chain.from_iterable(self.lanes.values()):
            while lane and lane[0] in gone:
                lane.popleft()
        self.waiting -= len(gone)
        if decision.jobs:
            self.served[decision.jobs[0].modality] = now
            self.batches += 1
        return decision.jobs


def simulate(
    arrivals: Iterable[Job], policy: Policy, device: Mapping[Modality, Device], replicas: int = 1
) -> Iterator[Done]:
    """Each job as it is done. arrivals: in the order of `submitted`. Works for `policy.wait` 0 only, which is
    the service's default: a device that is free begins at once."""
    if policy.wait:
        raise ValueError("the simulation knows no wait for company")
    workers = [_Worker() for _ in range(replicas)]
    free_at: list[tuple[float, int]] = []

    def begin(number: int, now: float) -> Iterator[Done]:
        worker = workers[number]
        worker.running = worker.next_batch(policy, now)
        if worker.running:
            ended = now + device[worker.running[0].modality].seconds(worker.running)
            heapq.heappush(free_at, (ended, number))
            for job in worker.running:
                yield Done(job, now, ended, worker.batches)

    for job in arrivals:
        while free_at and free_at[0][0] <= job.submitted:
            ended, number = heapq.heappop(free_at)
            yield from begin(number, ended)
        number = min(range(replicas), key=lambda place: workers[place].load)
        worker = workers[number]
        worker.put(job)
        if not worker.running:
            yield from begin(number, job.submitted)
    while free_at:
        ended, number = heapq.heappop(free_at)
        yield from begin(number, ended)


def jobs(
    moments: Iterable[float],
    costs: Iterable[int] = itertools.repeat(1),
    modality: Modality = Modality.TEXT,
    priority: Priority = Priority.INTERACTIVE,
) -> Iterator[Job]:
    """A job at each moment; costs: tokens of each."""
    for number, (moment, cost) in enumerate(zip(moments, costs, strict=False)):
        yield Job(number, NOBODY, 0, modality, priority, 0, cost, cost, moment, math.inf)


def poisson(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Moments of arrival, `rate` a second."""
    generator = np.random.default_rng(seed)
    return list(np.cumsum(generator.exponential(1 / rate, max(1, round(rate * seconds)))))


def bursts(
    rate: float, seconds: float, seed: int = 0, factor: float = 3.0, share: float = 0.1, length: float = 0.5
) -> list[float]:
    """The same mean rate, but for `share` of the time it is `factor` times that, for about `length` seconds
    at a time (a Poisson process that is modulated by a second one)."""
    generator = np.random.default_rng(seed)
    low = rate * (1 - factor * share) / (1 - share)
    moments: list[float] = []
    now, busy = 0.0, False
    while now < seconds:
        mean = length if busy else length * (1 - share) / share
        end = now + float(generator.exponential(mean))
        count = generator.poisson((factor * rate if busy else low) * (end - now))
        moments.extend(np.sort(generator.uniform(now, end, count)).tolist())
        now, busy = end, not busy
    return moments


def largest_rate(
    policy: Policy,
    device: Device,
    costs: Sequence[int],
    bound: float,
    limit: float,
    bursty: bool = False,
    replicas: int = 1,
    count: int = 200_000,
) -> float:
    """The most requests a second at which 99% of them are done within `bound` seconds. limit: what the device
    could do at most; found to 1% of it."""
    low, high = 0.0, limit
    while high - low > 0.01 * limit:
        rate = (low + high) / 2
        arrive = bursts if bursty else poisson
        made = jobs(arrive(rate, count / rate), itertools.cycle(costs))
        found = np.quantile(
            [done.latency for done in simulate(made, policy, {Modality.TEXT: device}, replicas)], 0.99
        )
        low, high = (rate, high) if found <= bound else (low, rate)
    return low


@dataclass(frozen=True, slots=True)
class Profile:
    """A device for the tables. budget: cost of a batch; costs: of the items that come, in turn."""

    name: str
    device: Device
    budget: int
    costs: Sequence[int]

    @property
    def limit(self) -> float:
        """Items a second with every batch full."""
        mean = sum(self.costs) / len(self.costs)
        items = self.budget / mean
        return items / (self.device.batch + items * (self.device.item + self.device.cost * mean))


def profiles() -> list[Profile]:
    """Two numbers each, fitted to what benchmarks/cuda.py measured on one NVIDIA H200."""
    from benchmarks.full_size import lengths

    return [
        Profile("H200, texts", Device(0.0013, cost=1.08e-6), 8192, lengths(1000, 0)),
        Profile("H200, images", Device(0.0011, item=0.00032), 32, [1]),
    ]


def main() -> None:
    """The tables of docs/capacity.md."""
    print("| device | arrivals | p99 within | one replica | share of its limit | 10,000/s | 1,000,000/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for profile in profiles():
        policy = Policy(dict.fromkeys(Modality, Budget(profile.budget, 4096)))
        for bursty, bound in itertools.product((False, True), (0.05, 0.2)):
            rate = largest_rate(policy, profile.device, profile.costs, bound, profile.limit, bursty)
            needed = [f"{math.ceil(wanted / rate):,}" if rate else "–" for wanted in (1e4, 1e6)]
            print(
                f"| {profile.name} | {'bursts' if bursty else 'Poisson'} | {bound * 1e3:.0f} ms "
                f"| {rate:,.0f}/s | {rate / profile.limit:.0%} | {' | '.join(needed)} |"
            )


if __name__ == "__main__":
    main()
