"""Load, and what came of it: so many callers that each wait for their answer (closed loop), or arrivals that
wait for nobody (open loop, Poisson). Knows no transport: a call is any coroutine function of a number.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Answer", "Call", "Load", "closed_loop", "open_loop", "work_rate"]

Call = Callable[[int], Awaitable[None]]
"""Sends item number N and returns when its right answer is there; raises when there is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """due: when it should have been sent, so that a load generator that lags hides no waiting. Seconds, all
    by one clock."""

    item: int
    due: float
    done: float
    failed: bool = False

    @property
    def latency(self) -> float:
        return self.done - self.due


@dataclass(frozen=True)
class Load:
    """The answers of one stretch of load, in the order in which they came; seconds: how long it lasted."""

    answers: Sequence[Answer]
    seconds: float

    @property
    def ok(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.failed]

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.ok) / self.seconds

    def goodput(self, within: float) -> float:
        """Right answers a second that took no longer than that."""
        return sum(answer.latency <= within for answer in self.ok) / self.seconds

    def latency(self, quantile: float) -> float:
        """Of right answers; infinite where there is none."""
        found = [answer.latency for answer in self.ok]
        return float(np.quantile(found, quantile)) if found else float("inf")


async def closed_loop(call: Call, count: int, in_flight: int) -> Load:
    """That many callers share `count` calls. A failure is raised: a closed loop never overloads anyone."""
    started = time.perf_counter()
    answers: list[Answer] = []
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            due = time.perf_counter()
            await call(number)
            answers.append(Answer(number, due, time.perf_counter()))

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return Load(answers, time.perf_counter() - started)


async def open_loop(call: Call, rate: float, seconds: float, seed: int = 0) -> Load:
    """Poisson arrivals at `rate` a second, whatever becomes of the earlier ones; waits for the last."""
    generator = np.random.default_rng(seed)
    moments = np.cumsum(generator.exponential(1 / rate, max(1, round(rate * seconds))))
    answers: list[Answer] = []
    started = time.perf_counter()

    async def one(number: int, due: float) -> None:
        try:
            await call(number)
            failed = False
        except Exception:  # refused, late or lost: all the same to whoever counts good answers
            failed = True
        answers.append(Answer(number, due, time.perf_counter(), failed))

    async with asyncio.TaskGroup() as tasks:
        for number, moment in enumerate(moments):
            due = started + float(moment)
            # Also where it lags: the others must get their turn.
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(number, due))
    # To the last answer: under overload many come after the last arrival, and are no higher rate for it.
    return Load(answers, time.perf_counter() - started)


def work_rate(load: Load, work: Callable[[int], float], gap: float = 0.02) -> float:
    """Work a second, from the end of one batch to the end of another, so that neither the first calls, which
    find an idle device, nor the last ones, whose batches are not full, count.

    Answers that come within `gap` seconds of each other are taken for one batch. work: of an item.
    """
    ends = [
        place
        for place, (one, other) in enumerate(zip(load.answers, load.answers[1:], strict=False))
        if other.done - one.done > gap
    ]
    # The first batch holds whoever came first, and the last ones what was left.
    if len(ends) < 3:
        raise ValueError("too few batches to tell a rate from")
    first, last = ends[1] if len(ends) > 3 else ends[0], ends[-1]
    done = sum(work(answer.item) for answer in load.answers[first + 1 : last + 1])
    return done / (load.answers[last].done - load.answers[first].done)
