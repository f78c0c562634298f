"""One model as a frontend keeps it: its pool of workers, its limits, its queue, its preprocessing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Cost
from service.frontend.api import validation
from service.frontend.api.encodings import lengths, normalized
from service.frontend.api.errors import Internal, WorkerUnavailable, from_exception
from service.frontend.api.messages import Image, Matrix, Timings, Variant
from service.frontend.api.validation import Limits
from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Computing, Prepared
from service.frontend.compute.content_cache import ContentCache, Key, digest
from service.frontend.compute.flights import Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from service.frontend.compute.single_flight import SingleFlight, Ticket
from service.frontend.core.call_items import Wanted
from service.frontend.preprocessing.decoders import Decoders
from service.frontend.preprocessing.preprocessing import Preprocessor, Threads, in_order
from worker.arrays import Pixels
from worker.families import family
from worker.runtime import logs
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality
from worker.spec import ModelInfo

if TYPE_CHECKING:
    from service.config.settings import Settings
    from service.frontend.preprocessing.fetching import Fetcher

__all__ = ["Model", "matrix", "timings", "values"]

_log = logs.get("model")


class Model:
    """One model with all that a frontend keeps for it."""

    def __init__(
        self,
        pool: ModelPool,
        settings: Settings,
        threads: Threads,
        decoders: Decoders,
        cache: ContentCache,
        metrics: Metrics,
        fetcher: Fetcher | None = None,
    ) -> None:
        spec = pool.spec
        kind = family(spec.model_type)
        self.pool = pool
        self.limits = Limits.of(settings)
        bounds = Bounds(settings.max_queue_items, settings.max_queue_bytes, settings.max_wait)
        self.admission = Admission(bounds, workers=lambda: pool.workers, decoding=decoders.expected_wait)
        pool.batch_ended = self.admission.observe
        self._pixels_size = 3 * spec.image_size**2
        self.threads = threads
        self.computing = Computing(pool, cache, metrics)
        self._decoding: SingleFlight[bytes, Pixels] = SingleFlight()
        self.preprocessor = Preprocessor(
            kind.tokenizer(spec),
            decoders.prepared_as(kind.image_processor(spec, settings.max_image_pixels)),
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
        return cost._replace(size=cost.size + cost.images * self._pixels_size) if cost.images else cost

    def wanted(self, call: Call, *, strict: bool = True) -> Wanted:
        """What a call wants computed, for a `with` block."""
        return Wanted(self.computing, call, strict=strict)

    async def add_texts(
        self,
        wanted: Wanted,
        texts: Sequence[str],
        *,
        rejected_at: Callable[[int], str] | None = None,
        variant: Variant | None = None,
    ) -> None:
        """Has them computed. rejected_at: the path of a text that is cut, where that is an error. variant: of
        prompt states, None for embeddings."""
        modality = Modality.TEXT if variant is None else Modality.PROMPT
        places = wanted.add(modality, len(texts))
        uncut = rejected_at is not None
        missing: list[tuple[int, Key]] = []
        for place, text in zip(places, texts, strict=True):
            key = self.computing.key(modality, digest(text), variant or 0)
            if not wanted.find(place, key, uncut=uncut):
                missing.append((place, key))
        unknown = [texts[place - places.start] for place, _ in missing]
        tokens = await self.preprocessor.tokens(unknown, wanted.call.priority) if unknown else ()
        for (place, _), each in zip(missing, tokens, strict=True):
            wanted.truncated[place] = each.truncated
        refused: set[int] = set()
        if rejected_at is not None:
            refused = {place for place in places if wanted.truncated[place]}
            for place in sorted(refused):
                path = rejected_at(place - places.start)
                wanted.refuse(place, validation.too_many_tokens(path, self.pool.spec.max_tokens))
        wanted.lead(
            [
                Prepared(place, key, WorkItem(modality, each.ids, variant or 0), each.truncated)
                for (place, key), each in zip(missing, tokens, strict=True)
                if place not in refused
            ]
        )

    async def add_images(self, wanted: Wanted, paths: Sequence[str], images: Sequence[Image]) -> None:
        """Has them computed. Strict: raises the error of the first bad one (in their order, not in time), and
        none is."""
        tickets: list[Ticket[Pixels]] = []
        places = wanted.add(Modality.IMAGE, len(images))
        pending = [
            self._image(wanted, place, path, image, tickets)
            for place, path, image in zip(places, paths, images, strict=True)
        ]
        try:
            prepared = (
                [await pending[0]]
                if len(pending) == 1
                else await in_order([asyncio.ensure_future(each) for each in pending])
            )
            wanted.lead([each for each in prepared if each is not None])
        finally:
            for ticket in tickets:
                ticket.leave()

    async def _image(
        self, wanted: Wanted, place: int, path: str, image: Image, tickets: list[Ticket[Pixels]]
    ) -> Prepared | None:
        """None if it needs no computing. tickets: what is decoded; to be left once it is led."""
        priority = wanted.call.priority
        try:
            async with self.preprocessor.content(path, image, priority) as (path, content):
                key = self.computing.key(Modality.IMAGE, await self.preprocessor.digest(content, priority))
                if wanted.find(place, key):
                    return None
                decode = partial(self.preprocessor.pixels, content, priority)
                tickets.append(ticket := self._decoding.join(key.digest, priority, decode))
                return Prepared(place, key, WorkItem(Modality.IMAGE, await ticket))
        except Exception as error:
            known = from_exception(error, path)
            if wanted.strict:
                raise (error if isinstance(known, Internal) else known) from None
            if isinstance(known, Internal):
                _log.error("image_failed", "an image of a stream failed", error=error)
            wanted.refuse(place, known)
            return None


def values(outcomes: Sequence[Outcome]) -> Matrix:
    """What was computed, one array; no outcome may be an error."""
    computed = [outcome.value for outcome in outcomes if outcome.value is not None]
    return computed[0].reshape(1, *computed[0].shape) if len(computed) == 1 else np.stack(computed)


def matrix(outcomes: Sequence[Outcome], normalize: bool) -> Matrix:
    """Embeddings as rows. Numbers that are not finite are a fault of the model and go to nobody."""
    rows = values(outcomes)
    if len(rows) == 1:  # the commonest call; the same numbers in half the time
        wide = rows[0].astype(np.float64)
        length = math.sqrt(wide @ wide)
        if not math.isfinite(length):
            raise Internal
        return (wide / length).astype(np.float32).reshape(1, -1) if normalize and length > 0.0 else rows
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
