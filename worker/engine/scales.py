"""What follows a batch that failed, in the engine and in batch jobs without a service: its items are run
again in halves, and where it did not fit the device's memory, batches are smaller until some have fitted.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from worker.engine.batcher import Budget
from worker.errors import OutOfMemory
from worker.runtime.notices import Modality

__all__ = ["Scales", "halves", "let_go"]

T = TypeVar("T")
RECOVERY = 1.02
LEAST = 1 / 64


class Scales:
    """How much of its budget a batch of each modality may hold now.

    Attributes:
        budgets: The whole ones times that; each lets a batch hold one item.
    """

    def __init__(self, budgets: Mapping[Modality, Budget]) -> None:
        self.budgets = budgets
        self._whole = budgets
        self._scales = dict.fromkeys(Modality, 1.0)

    def __getitem__(self, modality: Modality) -> float:
        return self._scales[modality]

    def failed(self, modality: Modality, error: Exception) -> bool:
        """A batch failed. Returns whether the next ones are smaller for it."""
        if isinstance(error, OutOfMemory):
            self._set(modality, max(LEAST, self._scales[modality] / 2))
            return True
        return False

    def fitted(self, modality: Modality) -> bool:
        """A batch did not fail. Returns whether the next ones may be larger for it."""
        if self._scales[modality] < 1:
            self._set(modality, min(1.0, self._scales[modality] * RECOVERY))
            return True
        return False

    def _set(self, modality: Modality, scale: float) -> None:
        self._scales[modality] = scale
        self.budgets = {each: _scaled(budget, self._scales[each]) for each, budget in self._whole.items()}


def _scaled(budget: Budget, scale: float) -> Budget:
    return replace(
        budget,
        cost=max(1, int(budget.cost * scale)),
        items=max(1, int(budget.items * scale)),
        bulk=max(1, int(budget.beside * scale)),
    )


def halves(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """The items of a batch, of two at least, as two."""
    middle = len(items) // 2
    return items[:middle], items[middle:]


def let_go(error: BaseException) -> None:
    """The frames that an error came through hold what they had computed: memory that the halves need."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
