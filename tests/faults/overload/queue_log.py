"""What a worker's queue saw, in its order: jobs that came, and batches that began.

    with service(source, environment=watched(path)) as server:
        …
    seen = read(path)

`bugs/sitecustomize.py` writes it down in the worker. It tells who waited for whom in batches, which are the
same however fast the machine is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.faults.harness import BUGS

__all__ = ["Batch", "Job", "Seen", "read", "watched"]


class Job(NamedTuple):
    """One item in the queue. cost: in tokens. place: after how many batches it came. waited_for: the batches
    that began between that and its own; None where its own never began."""

    priority: str
    cost: int
    place: int
    waited_for: tuple[Batch, ...] | None


class Batch(NamedTuple):
    """costs: of its jobs, by priority. quiet: seconds since the last interactive job came."""

    costs: Mapping[str, tuple[int, ...]]
    quiet: float

    def cost(self, *priorities: str) -> int:
        return sum(sum(self.costs.get(priority, ())) for priority in priorities)

    @property
    def items(self) -> int:
        return sum(map(len, self.costs.values()))


class Seen(NamedTuple):
    """Both in the order in which they came or began."""

    jobs: tuple[Job, ...]
    batches: tuple[Batch, ...]


def watched(path: Path) -> dict[str, str]:
    """The environment of a server whose workers write down what their queues see."""
    return {**BUGS, "TEST_QUEUE": str(path)}


def read(path: Path) -> Seen:
    """All of it so far."""
    came: dict[tuple[int, int], tuple[str, int, int]] = {}
    began: dict[tuple[int, int], int] = {}
    batches: list[Batch] = []
    whole, _, _ = path.read_text().rpartition("\n")  # a line of many jobs is written in several pieces
    for line in whole.splitlines():
        event, jobs, quiet = json.loads(line)
        for frontend, number, priority, cost in jobs:
            if event == "came":
                came[frontend, number] = (priority, cost, len(batches))
            else:
                began[frontend, number] = len(batches)
        if event == "began":
            batches.append(Batch(_by_priority(jobs), quiet))
    found = []
    for job, (priority, cost, place) in came.items():
        own = began.get(job)
        found.append(Job(priority, cost, place, None if own is None else tuple(batches[place:own])))
    return Seen(tuple(found), tuple(batches))


def _by_priority(jobs: Iterable[tuple[int, int, str, int]]) -> dict[str, tuple[int, ...]]:
    costs: dict[str, tuple[int, ...]] = {}
    for _, _, priority, cost in jobs:
        costs[priority] = (*costs.get(priority, ()), cost)
    return costs
