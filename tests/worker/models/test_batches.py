"""What a batch keeps of one that failed: nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import numpy as np

from tests.worker.engine.test_engine import TooSmall
from worker.arrays import Floats, Ids
from worker.engine.batcher import Budget
from worker.families import Pending
from worker.models.batches import Batches, Call, Item
from worker.runtime.notices import Modality

SIZES = {modality: Budget(100, 100) for modality in Modality}


def items(count: int) -> list[Item]:
    call = Call()
    return [Item(n, "text", False, call, ids=np.array([0, 2], np.int32)) for n in range(count)]


def test_what_a_batch_without_room_had_computed_is_gone_before_its_halves_run() -> None:
    encoder = TooSmall()
    batches = Batches(encoder, SIZES)
    outcomes = batches.finish(batches.launch(items(4)))
    assert [(each.key, each.error) for each in outcomes] == [(n, None) for n in range(4)]
    assert len(encoder.failed) == 3
    assert encoder.kept == 0


class Refusing(TooSmall):
    """An encoder that fails when its rows are asked for, which it holds until then."""

    def text(self, sequences: Sequence[Ids]) -> Pending:
        rows = np.zeros((len(sequences), 8), np.float32)
        self.rows = weakref.ref(rows)

        def pending() -> Floats:
            raise ValueError(f"{len(rows)} rows")

        return pending


def test_an_outcome_does_not_keep_the_batch_that_failed() -> None:
    encoder = Refusing()
    batches = Batches(encoder, SIZES)
    gc.disable()  # cycles would hide what is kept until a collection
    try:
        (outcome,) = batches.finish(batches.launch(items(1)))
        assert str(outcome.error) == "1 rows"
        assert encoder.rows() is None
    finally:
        gc.enable()
