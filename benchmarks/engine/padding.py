"""How much of what is computed would be padding: texts of mixed lengths in batches of so many, padded in
order of arrival, padded after sorting, and packed, which pads nothing. Arithmetic on the same lengths as
everywhere here; nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.full_size import lengths
from benchmarks.report import Row
from worker.families.altclip.packing import pack

__all__ = ["BATCHES", "rows", "waste"]

BATCHES = (8, 32, 128)
TEXTS = 1024


def waste(texts: Sequence[int], batch: int) -> float:
    """The share of computed tokens that are padding when each batch is as wide as its longest text."""
    batches = [texts[at : at + batch] for at in range(0, len(texts), batch)]
    computed = sum(max(of_one) * len(of_one) for of_one in batches)
    return 1 - sum(texts) / computed


def packed_waste(texts: Sequence[int], batch: int) -> float:
    """The same for what `worker.families.altclip.packing` makes of them."""
    computed = sum(
        len(pack([np.full(length, 9, np.int32) for length in texts[at : at + batch]], 1).ids)
        for at in range(0, len(texts), batch)
    )
    return 1 - sum(texts) / computed


def rows() -> list[Row]:
    """A row for each size of batch and way of padding."""
    drawn = [lengths(TEXTS, seed) for seed in range(5)]
    return [
        Row(
            f"padding, {batch} texts a batch, {name}",
            "all tokens that are computed",
            [share(sorted(texts) if name == "sorted by length" else texts, batch) for texts in drawn],
        )
        for batch in BATCHES
        for name, share in (
            ("in order of arrival", waste),
            ("sorted by length", waste),
            ("packed, as the service does", packed_waste),
        )
    ]
