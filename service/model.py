"""One model as a frontend keeps it: its pool of workers, its limits, its queue, its preprocessing."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from service import validation
from service.admission import Admission, Bounds
from service.cost import Cost
from service.decoding import Decoders
from service.encodings import lengths, normalized
from service.errors import Internal, WorkerUnavailable
from service.messages import Call, Matrix, Timings
from service.pool import ModelPool, Outcome, WorkItem
from service.preprocessing import Preprocessor, Threads
from service.validation import Limits
from worker.families import Tokens, family
from worker.spec import ModelInfo

if TYPE_CHECKING:
    from service.fetching import Fetcher
    from service.settings import Settings

__all__ = ["Model", "matrix", "timings", "values"]


class Model:
    """One model with all that a frontend keeps for it."""

    def __init__(
        self,
        pool: ModelPool,
        settings: Settings,
        threads: Threads,
        decoders: Decoders,
        fetcher: Fetcher | None = None,
    ) -> None:
        spec = pool.spec
        kind = family(spec.model_type)
        self.pool = pool
        self.limits = Limits.of(settings, spec)
        bounds = Bounds(settings.max_queue_items, settings.max_queue_bytes, settings.max_wait)
        self.admission = Admission(bounds, workers=lambda: pool.workers)
        pool.batch_ended = self.admission.observe
        self._pixels_size = 3 * spec.image_size**2
        self.threads = threads
        self.preprocessor = Preprocessor(
            kind.tokenizer(spec),
            decoders.prepared_as(kind.image_processor(spec)),
            threads,
            self.limits,
            fetcher,
        )

    @property
    def name(self) -> str:
        return self.pool.spec.name

    @property
    def info(self) -> ModelInfo:
        """Raises WorkerUnavailable before the first worker was ready."""
        if self.pool.info is None:
            raise WorkerUnavailable
        return self.pool.info

    @contextmanager
    def admitted(self, call: Call, cost: Cost) -> Iterator[None]:
        """Holds the call's place in the queue, for a `with` block; before any work is done for it.

        Raises DeadlineTooShort, QueueFull, QuotaExceeded.
        """
        ticket = self.admission.enter(self._held(cost), call.whose, call.priority, call.deadline)
        try:
            call.grant.spend(cost.items)
            yield
        finally:
            self.admission.leave(ticket)

    @asynccontextmanager
    async def admitted_in_turn(self, call: Call, cost: Cost) -> AsyncIterator[None]:
        """The same for a part of a stream, which waits where a call is refused."""
        ticket = await self.admission.wait(self._held(cost), call.whose, call.priority)
        try:
            yield
        finally:
            self.admission.leave(ticket)

    def _held(self, cost: Cost) -> Cost:
        return cost._replace(size=cost.size + cost.images * self._pixels_size)

    async def tokens(
        self, path: str, texts: Sequence[str], call: Call, reject: bool = False
    ) -> Sequence[Tokens]:
        """The token ids of each text; with `reject` a cut text is an error. `path` without the index."""
        tokens = await self.preprocessor.tokens(texts, call.priority)
        if reject:
            for index, each in enumerate(tokens):
                if each.truncated:
                    raise validation.too_many_tokens(f"{path}[{index}]", self.pool.spec.max_tokens)
        return tokens

    async def outcomes(self, items: Sequence[WorkItem], call: Call) -> Sequence[Outcome]:
        """What became of each item; raises the error of the first that failed."""
        if not items:
            return ()
        outcomes = await self.pool.compute(items, priority=call.priority, deadline=call.deadline)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return outcomes


def values(outcomes: Sequence[Outcome]) -> Matrix:
    """What was computed, one array; no outcome may be an error."""
    computed = [outcome.value for outcome in outcomes if outcome.value is not None]
    return computed[0][np.newaxis] if len(computed) == 1 else np.stack(computed)


def matrix(outcomes: Sequence[Outcome], normalize: bool) -> Matrix:
    """Embeddings as rows. Numbers that are not finite are a fault of the model and go to nobody."""
    rows = values(outcomes)
    if len(rows) == 1:  # the commonest call; the same numbers in half the time
        wide = rows[0].astype(np.float64)
        length = math.sqrt(wide @ wide)
        if not math.isfinite(length):
            raise Internal
        return (wide / length).astype(np.float32)[np.newaxis] if normalize and length > 0.0 else rows
    size = lengths(rows)
    if not np.isfinite(size).all():
        raise Internal
    return normalized(rows, size) if normalize else rows


def timings(outcomes: Sequence[Outcome]) -> Timings:
    """The longest of the waits and of the batches, and the largest batch."""
    if not outcomes:
        return Timings()
    if len(outcomes) == 1:
        return Timings(outcomes[0].queue_seconds, outcomes[0].inference_seconds, outcomes[0].batch_size)
    return Timings(
        max(outcome.queue_seconds for outcome in outcomes),
        max(outcome.inference_seconds for outcome in outcomes),
        max(outcome.batch_size for outcome in outcomes),
    )
