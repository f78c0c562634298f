"""Counts the items of a call in the metrics: accepted when it waits for them, each once when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from service.frontend.api.errors import DeadlineTooShort, WorkerUnavailable
from service.frontend.compute.flights import Outcome
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality

__all__ = ["ItemCounts"]


class ItemCounts(NamedTuple):
    """model: its name."""

    metrics: Metrics
    model: str

    def accepted(self, modalities: Sequence[Modality]) -> None:
        """Items of these modalities."""
        for modality, number in Counter(modalities).items():
            self.metrics.accepted.inc(self.model, modality.label, by=number)

    def ended(
        self, modalities: Sequence[Modality], outcomes: Sequence[Outcome | None], *, cancelled: bool
    ) -> None:
        """The same items with their outcomes. cancelled: the call was."""
        ended = Counter(
            (modality, _label(outcome, cancelled))
            for modality, outcome in zip(modalities, outcomes, strict=True)
        )
        for (modality, label), number in ended.items():
            self.metrics.items.inc(self.model, modality.label, label, by=number)


def _label(outcome: Outcome | None, cancelled: bool) -> str:
    """The label of an item's end in the metrics. cancelled: the call was, before it could retry the item."""
    if outcome is None:
        return "cancelled"
    if outcome.error is None:
        return "ok"
    if isinstance(outcome.error, DeadlineTooShort):
        return "cancelled"
    return "cancelled" if cancelled and isinstance(outcome.error, WorkerUnavailable) else "failed"
