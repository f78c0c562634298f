"""Outcomes as arrays: what a call's items became, one row each. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from service.frontend.api.messages import Matrix, Timings
from service.frontend.api.vectors import normalized
from service.frontend.compute.flights import Outcome

__all__ = ["matrix", "timings", "values"]


def values(outcomes: Sequence[Outcome]) -> Matrix:
    """The values of all outcomes in one array, float32 [n, …]. No outcome may be an error."""
    computed = [outcome.value for outcome in outcomes if outcome.value is not None]
    return computed[0][np.newaxis] if len(computed) == 1 else np.stack(computed)


def matrix(outcomes: Sequence[Outcome], normalize: bool) -> Matrix:
    """Embeddings as rows, float32 [n, dimension], each scaled to length 1 where `normalize` says so."""
    rows = values(outcomes)
    if not normalize:
        return rows
    if len(rows) > 1:
        return normalized(rows)
    # The commonest call: the same numbers in half the time.
    wide = rows[0].astype(np.float64)
    length = math.sqrt(wide.dot(wide))
    if length == 0.0:
        return rows
    wide /= length
    row: Matrix = wide.astype(np.float32)
    return row[np.newaxis]


def timings(outcomes: Sequence[Outcome]) -> Timings:
    """The longest wait, the longest batch and the largest batch of these items."""
    if not outcomes:
        return Timings()
    if len(outcomes) == 1:
        return Timings(outcomes[0].queue_seconds, outcomes[0].inference_seconds, outcomes[0].batch_size)
    return Timings(
        max(outcome.queue_seconds for outcome in outcomes),
        max(outcome.inference_seconds for outcome in outcomes),
        max(outcome.batch_size for outcome in outcomes),
    )
