"""What is asked of workers: items, on their way there and back, and what became of each. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from service.frontend.api.errors import ServiceError
from worker.runtime.notices import Modality, Priority

__all__ = ["Batch", "Flight", "Link", "Outcome", "WorkItem"]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One thing to compute.

    payload: TEXT and PROMPT int32 [tokens], special tokens included, not padded; IMAGE uint8 [size, size, 3].
    variant: of a PROMPT, 0 for AltDiffusion's states, 1 for AltCLIP's.
    """

    modality: Modality
    payload: npt.NDArray[np.int32] | npt.NDArray[np.uint8]
    variant: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: `value` or `error`.

    value: TEXT and IMAGE float32 [dimension], not normalised; PROMPT float32 [max_tokens, state_dimension].
    Times in seconds; batch_size counts all items that were computed together.
    """

    value: npt.NDArray[np.float32] | None
    error: ServiceError | None = None
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0


class Batch(NamedTuple):
    """What one frontend learns of one batch that has ended.

    items: its own; of: all that were in it. fill: how much of what a batch may hold its own took up. seconds:
    how long the batch took. wait: the least that an interactive item of its own had waited, None without one.
    bulk: how many of its own were bulk work. left: other bulk work of its own was there and had to wait.
    """

    modality: Modality
    items: int
    of: int
    fill: float
    seconds: float
    wait: float | None
    bulk: int = 0
    left: bool = False


class Link(Protocol):
    """The way to one worker, on which a flight was sent."""

    def take_back(self, flight: Flight) -> None:
        """Tells the worker not to compute it, if that has not begun."""


class Flight:
    """One item on its way to a worker and back. `land` says what becomes of its outcome."""

    __slots__ = ("abandoned", "deadline", "item", "job_id", "link", "priority", "slot", "submitted")

    def __init__(self, item: WorkItem, priority: Priority, deadline: float | None) -> None:
        """deadline: in time.monotonic() seconds, None for none; no worker begins it later."""
        self.item = item
        self.priority = priority
        self.deadline = deadline
        self.abandoned = False
        """Nobody waits any more: what still comes is dropped."""
        self.link: Link | None = None
        """Where it was sent; job_id, slot and submitted are of that link."""
        self.job_id = 0
        self.slot = 0
        self.submitted = 0.0

    def land(self, outcome: Outcome) -> None:
        """Called once, unless it was abandoned."""
        raise NotImplementedError
