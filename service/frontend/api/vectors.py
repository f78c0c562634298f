"""Lengths of embeddings, and scores between them. Pure functions of numpy arrays.

    cosine       q · c for rows of length 1
    logit        cosine × exp(logit scale)
    probability  softmax of the logits over all candidates of a query, before `top_k` cuts them

Products are computed in float64 and rounded once, so that the same two vectors have the same score wherever
they stand in the lists. Equal scores are ordered by the lower index.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.frontend.api.encodings import checked
from service.frontend.api.messages import Matrix, ScoreRow, Scores

__all__ = ["best", "lengths", "normalized", "probabilities", "scores"]

Wide = npt.NDArray[np.float64]


def lengths(rows: Matrix) -> Wide:
    """The Euclidean length of each row, float64 [n]. No finite float32 row overflows or becomes 0."""
    wide = rows.astype(np.float64)
    result: Wide = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return result


def normalized(rows: Matrix, known_lengths: Wide | None = None) -> Matrix:
    """Each row scaled to length 1; a row of zeros stays zeros. known_lengths: `lengths(rows)`, if known."""
    by = lengths(rows) if known_lengths is None else known_lengths
    if not by.all():
        by = np.where(by > 0.0, by, 1.0)
    scaled: Matrix = (rows / by[:, np.newaxis]).astype(np.float32)
    return scaled


def scores(queries: Matrix, candidates: Matrix, kind: Scores, logit_scale: float) -> Matrix:
    """float32 [queries, candidates] for rows of length 1. Raises Internal for a score that is not finite."""
    cosines: Wide = (queries.astype(np.float64) @ candidates.astype(np.float64).T).clip(-1.0, 1.0)
    match kind:
        case Scores.COSINE:
            result: Matrix = cosines.astype(np.float32)
        case Scores.LOGIT:
            with np.errstate(over="ignore"):  # told by the check below
                result = (cosines * logit_scale).astype(np.float32)
        case Scores.PROBABILITY:
            result = probabilities(cosines * logit_scale).astype(np.float32)
    return checked(result)


def probabilities(logits: Wide) -> Wide:
    """The softmax of each row: float64 in and out, safe for any finite logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Wide = powers / powers.sum(axis=1, keepdims=True)
    return result


def best(row: Matrix, top_k: int) -> ScoreRow:
    """All scores in their order for `top_k` 0; otherwise the best, best first, ties by the lower index."""
    if top_k == 0:
        return ScoreRow(row, None)
    order = np.argsort(-row, kind="stable")[:top_k]
    return ScoreRow(row[order], order.astype(np.uint32))
