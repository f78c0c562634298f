"""Counts the items of a call in the metrics: accepted when it waits for them, each once when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from service.frontend.api.errors import DeadlineTooShort, WorkerUnavailable
from service.frontend.compute.flights import Outcome
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality

__all__ = ["count_accepted", "count_ended"]


def count_accepted(metrics: Metrics, model: str, modalities: Sequence[Modality]) -> None:
    """Items of these modalities. model: its name."""
    for modality in dict.fromkeys(modalities):
        metrics.accepted.inc(model, modality.label, by=modalities.count(modality))


def count_ended(
    metrics: Metrics,
    model: str,
    modalities: Sequence[Modality],
    outcomes: Sequence[Outcome | None],
    *,
    cancelled: bool,
) -> None:
    """The same items with their outcomes. cancelled: the call was."""
    ended: dict[tuple[Modality, str], int] = {}
    for modality, outcome in zip(modalities, outcomes, strict=True):
        key = modality, _label(outcome, cancelled)
        ended[key] = ended.get(key, 0) + 1
    for (modality, label), number in ended.items():
        metrics.items.inc(model, modality.label, label, by=number)


def _label(outcome: Outcome | None, cancelled: bool) -> str:
    """The label of an item's end in the metrics. cancelled: the call was, before it could retry the item."""
    if outcome is None:
        return "cancelled"
    if outcome.error is None:
        return "ok"
    if isinstance(outcome.error, DeadlineTooShort):
        return "cancelled"
    return "cancelled" if cancelled and isinstance(outcome.error, WorkerUnavailable) else "failed"
