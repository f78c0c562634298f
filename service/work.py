"""What the core asks of workers: items, what became of each, and the call that waits for them. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.errors import ServiceError, WorkerUnavailable
from worker.jobs import Modality, Priority

__all__ = ["Attempt", "Batch", "Call", "Outcome", "WorkItem"]


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
    Times in seconds; batch_size counts all items that were computed together. untouched: its worker died
    before any device saw the item.
    """

    value: npt.NDArray[np.float32] | None
    error: ServiceError | None = None
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0
    untouched: bool = False


class Batch(NamedTuple):
    """What one frontend learns of one batch that has ended.

    items: its own; of: all that were in it. fill: how much of what a batch may hold its own took up. seconds:
    how long the batch took. wait: the least that an interactive item of its own had waited, None without one.
    """

    modality: Modality
    items: int
    of: int
    fill: float
    seconds: float
    wait: float | None


class Attempt(Enum):
    """Which one it is of those that items have, where a worker that dies need not be the end of them."""

    ONLY = auto()
    FIRST = auto()
    """What a dying worker takes with it is computed once more: it has not ended yet."""
    SECOND = auto()
    """These items were accepted with the first."""


class Call:
    """Items whose outcomes one caller awaits. `done` is set when every item that is `remaining` has its own.

    deadline: in time.monotonic() seconds, None for none.
    """

    def __init__(
        self,
        items: Sequence[WorkItem],
        priority: Priority,
        deadline: float | None,
        attempt: Attempt = Attempt.ONLY,
    ) -> None:
        self.items = items
        self.priority = priority
        self.deadline = deadline
        self.attempt = attempt
        self.outcomes: list[Outcome | None] = [None] * len(items)
        self.remaining = len(items)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.abandoned = False
        """Nobody waits any more: what still comes is dropped."""

    def settle(self, index: int, outcome: Outcome) -> None:
        """The item has its outcome."""
        self.outcomes[index] = outcome
        self.remaining -= 1
        if not self.remaining and not self.done.done():
            self.done.set_result(None)

    def untouched(self) -> Sequence[int]:
        """The items that their worker had not begun when it died."""
        return [index for index, each in enumerate(self.outcomes) if each is not None and each.untouched]

    def renew(self, indices: Sequence[int]) -> None:
        """These are given to another worker: their outcomes are awaited anew."""
        for index in indices:
            self.outcomes[index] = None
        self.remaining = len(indices)
        self.done = asyncio.get_running_loop().create_future()

    def comes_again(self, outcome: Outcome) -> bool:
        """Whether an item that ended so is computed once more, so that it has not ended yet."""
        return outcome.untouched or (
            self.attempt is Attempt.FIRST and isinstance(outcome.error, WorkerUnavailable)
        )
