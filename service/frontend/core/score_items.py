"""Similarity of items of several parts: embedded as one call, scored as `Core.similarity` scores."""

from __future__ import annotations

from collections.abc import Sequence

from service.frontend.api import validation
from service.frontend.api.messages import Options, Orientation, Scored, Scores
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.core.embed_items import WholeItem, embed_items
from service.frontend.core.scoring import score_rows

__all__ = ["score_items"]


async def score_items(
    core: Core,
    call: Call,
    name: str,
    queries: Sequence[WholeItem],
    candidates: Sequence[WholeItem],
    score: Scores,
    top_k: int,
    *,
    most_texts: int,
    orientation: Orientation = Orientation.AS_STORED,
) -> Scored:
    """Row i belongs to queries[i]. most_texts: how many the call may hold."""
    model = core.model_for(call, name)
    most = model.limits.max_items
    validation.count("queries", len(queries), most)
    validation.count("candidates", len(candidates), most)
    info = model.info
    items = [*queries, *candidates]
    done = await embed_items(
        core,
        call,
        name,
        items,
        Options(orientation=orientation),
        path="candidates",
        most_texts=most_texts,
        most_images=2 * most,
    )
    return Scored(
        model=done.model,
        revision=done.revision,
        logit_scale=info.logit_scale,
        rows=await score_rows(model, done.rows, len(queries), score, info.logit_scale, top_k),
        timings=done.timings,
        truncated=done.truncated,
    )
