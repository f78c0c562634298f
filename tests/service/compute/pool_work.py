"""Items as a call has them computed, by a frontend's pool and a real worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Coalescer, Prepared
from service.frontend.compute.content_cache import ContentCache
from service.frontend.compute.flights import Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from service.frontend.core.call_items import CallItems
from service.frontend.preprocessing.preprocessing import Preprocessor
from worker.arrays import Floats, Ids
from worker.families import family
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority
from worker.spec import ModelSpec


def make(spec: ModelSpec) -> ModelPool:
    return ModelPool(spec, Metrics.local())


NO_PREPROCESSOR = cast(Preprocessor, None)
"""The items here are prepared already."""


def tokenised(spec: ModelSpec, *words: str) -> list[Ids]:
    return [one.ids for one in family(spec.model_type).tokenizer(spec).encode(words)]


def texts(spec: ModelSpec, *words: str) -> list[WorkItem]:
    return [WorkItem(Modality.TEXT, ids) for ids in tokenised(spec, *words)]


def work(
    pool: ModelPool,
    items: list[WorkItem],
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> CallItems:
    """As a call has items computed, all of different contents."""
    coalescer = Coalescer(pool, ContentCache(0), pool._metrics)
    made = CallItems(coalescer, NO_PREPROCESSOR, Call(priority=priority, deadline=deadline), strict=False)
    for item in items:
        (index,) = made.add(item.modality, 1)
        made.compute([Prepared(index, coalescer.key(item.modality, str(index).encode()), item)])
    return made


async def compute(
    pool: ModelPool,
    items: list[WorkItem],
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> Sequence[Outcome]:
    with work(pool, items, priority, deadline) as computed:
        return await asyncio.wait_for(computed.outcomes(), 120)


def counted(pool: ModelPool, outcome: str, modality: str = "text") -> float:
    return pool._metrics.items.value("m", modality, outcome)


def accepted(pool: ModelPool) -> float:
    return pool._metrics.accepted.value("m", "text")


def slots_in_use(pool: ModelPool) -> float:
    return pool._metrics.slots.value("m", "text")


def value(outcome: Outcome) -> Floats:
    assert outcome.error is None
    assert outcome.value is not None
    return outcome.value


def begun(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def wait_until(path: Path, lines: int) -> list[str]:
    """Waits for that many batches to have begun, as the stub wrote them down."""
    async with asyncio.timeout(60):
        while len(found := begun(path)) < lines:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    return found
