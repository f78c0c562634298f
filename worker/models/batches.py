"""Batches of prepared items: which items form the next one, and what becomes of each when it has run.

A batch that fails is run again in halves until the item at fault stands alone, and one that does not fit the
device's memory makes the next ones smaller.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.arrays import Floats, Ids, Pixels
from worker.engine.batcher import Budget
from worker.engine.scales import Scales, halves, let_go
from worker.errors import DeviceLost
from worker.families import Encoder, Pending
from worker.runtime.notices import Modality

__all__ = ["Batches", "Call", "Item", "Launched", "Outcome"]

IMAGE_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a row or an error.

    key: as it was given. row: float32 [dimension], not normalised. error: an `ImageError`, or whatever the
    encoder raised for this item alone. token_count, truncated: of a text.
    """

    key: object
    row: Floats | None = None
    error: Exception | None = None
    token_count: int = 0
    truncated: bool = False


@dataclass(slots=True, eq=False)
class Item:
    key: object
    content: str | bytes
    upright: bool
    call: Call
    ids: Ids | None = None
    pixels: Pixels | None = None
    truncated: bool = False

    @property
    def modality(self) -> Modality:
        return Modality.TEXT if isinstance(self.content, str) else Modality.IMAGE

    @property
    def weight(self) -> int:
        return 1 if isinstance(self.content, str) else IMAGE_WEIGHT

    @property
    def cost(self) -> int:
        return 1 if self.ids is None else len(self.ids)


@dataclass(slots=True, eq=False)
class Call:
    """One call of `embed`. given: how many items its iterator gave; None until it has ended."""

    outcomes: queue.SimpleQueue[list[Outcome] | BaseException] = field(default_factory=queue.SimpleQueue)
    room: threading.Condition = field(default_factory=threading.Condition)
    under_way: int = 0
    given: int | None = None
    closed: bool = False


@dataclass(slots=True)
class Launched:
    items: Sequence[Item]
    pending: Pending | None
    error: Exception | None


class Batches:
    """Forms batches and runs them, in one thread."""

    def __init__(self, encoder: Encoder, sizes: Mapping[Modality, Budget]) -> None:
        self._encoder = encoder
        self._scales = Scales(sizes)
        self._last = Modality.IMAGE

    def take(self, prepared: Mapping[Modality, deque[Item]]) -> Sequence[Item]:
        """Takes the next batch: both kinds in turn, oldest first, at least one item."""
        other = Modality.TEXT if self._last is Modality.IMAGE else Modality.IMAGE
        modality = other if prepared[other] else self._last
        line, budget = prepared[modality], self._scales.budgets[modality]
        self._last = modality
        items: list[Item] = []
        cost = 0
        while line and (not items or (cost + line[0].cost <= budget.cost and len(items) < budget.items)):
            cost += line[0].cost
            items.append(line.popleft())
        return items

    def launch(self, items: Sequence[Item]) -> Launched:
        """Begins a batch. What fails is told by `finish`. Raises DeviceLost."""
        try:
            if items[0].modality is Modality.TEXT:
                pending = self._encoder.text([item.ids for item in items if item.ids is not None])
            else:
                pending = self._encoder.image([item.pixels for item in items if item.pixels is not None])
            return Launched(items, pending, None)
        except DeviceLost:
            raise
        except Exception as error:  # whatever a model raises, the other items of the batch are computed
            return Launched(items, None, error)

    def finish(self, launched: Launched) -> list[Outcome]:
        """The outcome of each item. Raises DeviceLost."""
        items = launched.items
        try:
            if launched.pending is None:
                raise launched.error or RuntimeError("a batch was launched without a result")
            rows = launched.pending()
        except DeviceLost:
            raise
        except Exception as error:
            self._scales.failed(items[0].modality, error)
            let_go(error)
            if len(items) == 1:
                error.__traceback__ = None  # it holds this frame, and so the batch
                return [_outcome(items[0], None, error)]
        else:
            self._scales.fitted(items[0].modality)
            return [_outcome(item, row) for item, row in zip(items, rows, strict=True)]
        launched.pending = launched.error = None
        return [outcome for half in halves(items) for outcome in self.finish(self.launch(half))]


def _outcome(item: Item, row: Floats | None, error: Exception | None = None) -> Outcome:
    tokens = 0 if item.ids is None else len(item.ids)
    return Outcome(item.key, row, error, tokens, item.truncated)
