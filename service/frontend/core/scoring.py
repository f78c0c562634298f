"""Scores of a call's queries against its candidates, in a thread where there are many. No transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from service.frontend.api import vectors
from service.frontend.api.messages import Matrix, ScoreRow, Scores
from service.frontend.core.model import Model

__all__ = ["SCORES_AT_ONCE", "in_turns", "score_rows"]

Result = TypeVar("Result")

HEAVY_SCORES = 1 << 20
"""Products of components above which scoring goes to a thread, so that the event loop stays free."""
SCORES_AT_ONCE = 4096
"""Scores that a transport writes into its answer without a pause: some milliseconds."""


async def score_rows(
    model: Model, rows: Matrix, queries: int, kind: Scores, logit_scale: float, top_k: int
) -> Sequence[ScoreRow]:
    """One row for each query. rows: of length 1, the queries first and the candidates after them."""

    def work() -> Sequence[ScoreRow]:
        scores = vectors.scores(rows[:queries], rows[queries:], kind, logit_scale)
        return [vectors.best(row, top_k) for row in scores]

    heavy = queries * (len(rows) - queries) * rows.shape[1] > HEAVY_SCORES
    return await model.threads.run(work) if heavy else work()


async def in_turns(results: Sequence[Result], scores: int) -> AsyncIterator[Result]:
    """The results in their order. Where they hold many scores, other calls have a turn after each result.

    scores: of all results together.
    """
    for result in results:
        yield result
        if scores > SCORES_AT_ONCE:
            await asyncio.sleep(0)
