"""One item in the worker's queue, and the frontend that it came from. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.runtime.notices import Modality, Priority, Result
from worker.runtime.slab import Slab

__all__ = ["Job", "Origin"]


class Origin(Protocol):
    """Whom a job came from and goes back to. Sending to one that is gone does nothing."""

    index: int
    slab: Slab

    def send(self, results: Sequence[Result]) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One item in a worker's queue.

    cost: what it weighs in a batch, tokens for text and prompts, 1 for an image. length: the number of values
    in its slot, token ids or pixel bytes. submitted, deadline: time.monotonic() seconds (one clock for the
    whole host); deadline may be infinite.
    """

    id: int
    origin: Origin
    slot: int
    modality: Modality
    priority: Priority
    variant: int
    length: int
    cost: int
    submitted: float
    deadline: float
    cancelled: bool = False
