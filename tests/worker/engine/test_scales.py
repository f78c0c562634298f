"""Batches are smaller after one that did not fit the device's memory, and grow again with those that do."""

from __future__ import annotations

import pytest

from worker.engine.batcher import Budget
from worker.engine.scales import LEAST, RECOVERY, Scales, halves
from worker.errors import OutOfMemory
from worker.runtime.notices import Modality

WHOLE = {modality: Budget(1000, 100, 10) for modality in Modality}


def test_a_batch_without_room_halves_what_the_next_one_of_its_kind_may_hold() -> None:
    scales = Scales(WHOLE)
    assert scales.failed(Modality.TEXT, OutOfMemory("no room"))
    assert scales.budgets == WHOLE | {Modality.TEXT: Budget(500, 50, 5)}
    assert not scales.failed(Modality.IMAGE, ValueError("a fault of one item"))
    assert not scales.fitted(Modality.IMAGE)
    assert scales.budgets[Modality.IMAGE] == WHOLE[Modality.IMAGE]


def test_what_a_batch_may_hold_has_a_least_and_grows_back_to_the_whole() -> None:
    scales = Scales(WHOLE)
    for _ in range(20):
        scales.failed(Modality.TEXT, OutOfMemory("no room"))
    assert scales[Modality.TEXT] == LEAST
    assert scales.budgets[Modality.TEXT] == Budget(15, 1, 1)
    scales.fitted(Modality.TEXT)
    assert scales[Modality.TEXT] == pytest.approx(LEAST * RECOVERY)
    grown = 1
    while scales.fitted(Modality.TEXT):
        grown += 1
    assert grown < 300
    assert scales.budgets == WHOLE


@pytest.mark.parametrize("count", [2, 3, 7])
def test_halves_are_all_items_in_their_order(count: int) -> None:
    first, second = halves(range(count))
    assert [*first, *second] == list(range(count))
    assert 0 <= len(second) - len(first) <= 1
