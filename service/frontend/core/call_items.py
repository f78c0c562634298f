"""The items of one call: what each needs computed, what became of it, and how it is counted.

    add_texts, add_images ─▶ cached, under way for another call, or a flight of our own
                                        └──▶ outcomes ─▶ retry, in a stream ─▶ counted at the end

An item has an index, in the order in which it was added. One that has no outcome yet is unsettled.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from altclip.tracing import names
from service.frontend.api import validation
from service.frontend.api.errors import (
    Internal,
    ServiceError,
    from_exception,
)
from service.frontend.api.messages import Image, Orientation, Variant
from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Coalescer, Prepared, SharedFlight
from service.frontend.compute.content_cache import ContentKey, Row, digest
from service.frontend.compute.flights import Outcome, WorkItem
from service.frontend.compute.single_flight import Seat
from service.frontend.core.item_counts import count_accepted, count_ended
from service.frontend.core.item_spans import add_item_spans
from service.frontend.preprocessing.preprocessing import Preprocessor, in_order
from worker.arrays import Decoded
from worker.runtime import logs
from worker.runtime.notices import Modality

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Trace

__all__ = ["CallItems"]

_log = logs.get("items")


class CallItems:
    """The items of one call: a context, at whose end the call waits for none of them and all are counted.

    strict: a bad item is the error of the call. By each item's index: `tokens` and `truncated` of a text, and
    `sizes`, an image's own width and height in pixels.
    """

    def __init__(
        self,
        coalescer: Coalescer,
        preprocessor: Preprocessor,
        call: Call,
        *,
        strict: bool = True,
        trace: Trace | None = None,
    ) -> None:
        """trace: what their spans go below, where that is not the call's own."""
        self.call = call
        self.trace = trace or call.trace
        self.strict = strict
        self.tokens: list[int] = []
        self.truncated: list[bool] = []
        self.sizes: list[tuple[int, int]] = []
        self._coalescer = coalescer
        self._preprocessor = preprocessor
        self._modalities: list[Modality] = []
        self._outcomes: list[Outcome | None] = []
        self._flights: dict[int, SharedFlight] = {}
        self._unsettled = 0
        self._accepted = False
        self._done: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for flight in self._flights.values():
            flight.leave(self)
        if self.trace is not None:
            add_item_spans(self.trace, self._flights, self._outcomes, self.tokens)
        if self._accepted:
            cancelled = isinstance(error, asyncio.CancelledError)
            count_ended(
                self._coalescer.metrics,
                self._coalescer.pool.spec.name,
                self._modalities,
                self._outcomes,
                cancelled=cancelled,
            )

    async def add_texts(
        self,
        texts: Sequence[str],
        *,
        rejected_at: Callable[[int], str] | None = None,
        variant: Variant | None = None,
    ) -> None:
        """Has texts computed.

        rejected_at: the path of a text, where one that is too long for the model is an error. variant: of
        prompt states, None for embeddings.
        """
        if self.trace is None or not texts:
            return await self._add_texts(texts, rejected_at, variant)
        with self.trace.phase(names.TOKENIZE, {names.ITEMS: len(texts)}):
            return await self._add_texts(texts, rejected_at, variant)

    async def _add_texts(
        self, texts: Sequence[str], rejected_at: Callable[[int], str] | None, variant: Variant | None
    ) -> None:
        modality = Modality.TEXT if variant is None else Modality.PROMPT
        indices = self.add(modality, len(texts))
        missing: list[tuple[int, ContentKey]] = []
        for index, text in zip(indices, texts, strict=True):
            key = self._coalescer.key(modality, digest(text), variant or 0)
            if not self._find(index, key, uncut=rejected_at is not None):
                missing.append((index, key))
        unknown = [texts[index - indices.start] for index, _ in missing]
        tokens = await self._preprocessor.tokens_or_failures(unknown, self.call.priority) if unknown else ()
        prepared: list[Prepared] = []
        for (index, key), each in zip(missing, tokens, strict=True):
            if isinstance(each, Exception):
                self._fail(index, each)
                continue
            self.truncated[index] = each.truncated
            prepared.append(Prepared(index, key, WorkItem(modality, each.ids, variant or 0), each.truncated))
        refused: set[int] = set()
        if rejected_at is not None:
            refused = {index for index in indices if self.truncated[index]}
            for index in sorted(refused):
                path = rejected_at(index - indices.start)
                most_tokens = self._coalescer.pool.spec.max_tokens
                self._refuse(index, validation.too_many_tokens(path, most_tokens))
        self.compute([each for each in prepared if each.index not in refused])

    async def add_images(
        self,
        paths: Sequence[str],
        images: Sequence[Image],
        orientation: Orientation = Orientation.AS_STORED,
    ) -> None:
        """Has images computed. paths: of their fields.

        Strict: none is computed if one is bad, and the error of the first bad one, by its index, is raised.
        """
        if self.trace is None or not images:
            return await self._add_images(paths, images, orientation)
        with self.trace.phase(names.DECODE, {names.ITEMS: len(images)}):
            return await self._add_images(paths, images, orientation)

    async def _add_images(
        self, paths: Sequence[str], images: Sequence[Image], orientation: Orientation
    ) -> None:
        seats: list[Seat[Decoded]] = []
        indices = self.add(Modality.IMAGE, len(images))
        upright = orientation is Orientation.UPRIGHT
        pending = [
            self._prepare_image(index, path, image, upright, seats)
            for index, path, image in zip(indices, paths, images, strict=True)
        ]
        try:
            prepared = (
                [await pending[0]]
                if len(pending) == 1
                else await in_order([asyncio.ensure_future(each) for each in pending])
            )
            self.compute([each for each in prepared if each is not None])
        finally:
            for seat in seats:
                seat.leave()

    def add(self, modality: Modality, count: int) -> range:
        """Adds so many items of the call, not settled yet. Returns their indices."""
        start = len(self._outcomes)
        self.tokens += [0] * count
        self.truncated += [False] * count
        self.sizes += [(0, 0)] * count
        self._modalities += [modality] * count
        self._outcomes += [None] * count
        self._unsettled += count
        return range(start, start + count)

    def compute(self, items: Sequence[Prepared]) -> None:
        """Begins a flight for each item, unless another call has begun one for that content meanwhile."""
        begun: list[SharedFlight] = []
        for prepared in items:
            flight = self._coalescer.under_way(prepared.key, self.call.priority)
            leads = flight is None
            if flight is None:
                flight = self._coalescer.begin(self.call, prepared)
                begun.append(flight)
            self._wait(prepared.index, flight, final=leads)
        if begun:
            self._coalescer.pool.start(begun)

    def again(self, prepared: Prepared) -> None:
        """Computes an item whose flight failed for reasons of another call. Its outcome will be final.

        Its new flight's deadline is no earlier than this call's.
        """
        flight = self._coalescer.under_way(prepared.key, self.call.priority)
        if flight is not None and (flight.deadline or math.inf) >= (self.deadline or math.inf):
            self._wait(prepared.index, flight, final=True)
        else:
            flight = self._coalescer.begin(self.call, prepared)
            self._wait(prepared.index, flight, final=True)
            self._coalescer.pool.start([flight])

    def retry(self, indices: Sequence[int]) -> None:
        """Computes items once more whose outcome was an error."""
        self._unsettled += len(indices)
        for index in indices:
            self._outcomes[index] = None
        self.compute([self._flights[index].prepared(index) for index in indices])

    def settle(self, index: int, outcome: Outcome) -> None:
        """Sets the outcome of an item that has none yet."""
        self._outcomes[index] = outcome
        self._unsettled -= 1
        if not self._unsettled and self._done is not None and not self._done.done():
            self._done.set_result(None)

    @property
    def deadline(self) -> float | None:
        """The call's."""
        return self.call.deadline

    def in_time(self) -> bool:
        """Whether the call has time left."""
        return self.call.in_time()

    async def outcomes(self) -> Sequence[Outcome]:
        """The outcome of each item, by its index. From now on the items count as accepted.

        Strict: raises the error of the first bad item.
        """
        if not self._accepted:
            self._accepted = True
            count_accepted(self._coalescer.metrics, self._coalescer.pool.spec.name, self._modalities)
        if self._unsettled:
            self._done = asyncio.get_running_loop().create_future()
            await self._done
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        if self.strict:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
        return outcomes

    async def _prepare_image(
        self, index: int, path: str, image: Image, upright: bool, seats: list[Seat[Decoded]]
    ) -> Prepared | None:
        """Decodes an image. None if nothing is left to compute.

        seats: the caller leaves them once the item is computed.
        """
        priority, preprocessor = self.call.priority, self._preprocessor
        try:
            async with preprocessor.content(path, image, priority, self.call.whose) as (path, content):
                known_by = await preprocessor.digest(content, priority)
                key = self._coalescer.key(Modality.IMAGE, known_by, int(upright))
                if self._find(index, key):
                    return None
                seats.append(seat := preprocessor.decode(known_by, content, priority, upright=upright))
                decoded = await seat
                size = (decoded.width, decoded.height)
                return Prepared(index, key, WorkItem(Modality.IMAGE, decoded.pixels), size=size)
        except Exception as error:
            self._fail(index, error, path)
            return None

    def _find(self, index: int, key: ContentKey, *, uncut: bool = False) -> bool:
        """Whether that content is cached or under way. Then the item gets it.

        uncut: a text that was cut is only marked as truncated, because it will be refused.
        """
        known = self._coalescer.row(key) or self._coalescer.under_way(key, self.call.priority)
        if known is None:
            return False
        self.tokens[index], self.truncated[index] = known.tokens, known.truncated
        self.sizes[index] = known.size
        if uncut and known.truncated:
            return True
        if isinstance(known, Row):
            self.settle(index, Outcome(known.value))
        else:
            self._wait(index, known, final=False)
        return True

    def _fail(self, index: int, error: Exception, path: str = "") -> None:
        """Ends an item that could not be prepared. path: of its field. Strict: raises its error."""
        known = from_exception(error, path)
        if self.strict:
            raise (error if isinstance(known, Internal) else known) from None
        if isinstance(known, Internal):
            kind = self._modalities[index].label
            _log.error("item_not_prepared", f"the server failed to prepare {kind} input", error=error)
        self._refuse(index, known)

    def _refuse(self, index: int, error: ServiceError) -> None:
        """Ends an item that is not computed: it was not cut, and has no tokens. Strict: raises its error."""
        if self.strict:
            raise error
        self.tokens[index], self.truncated[index] = 0, False
        self.settle(index, Outcome(None, error))

    def _wait(self, index: int, flight: SharedFlight, *, final: bool) -> None:
        flight.waiting.append((self, index, final))
        if self.trace is not None and not self.trace.full:
            flight.traced_by(self.trace)
        self._flights[index] = flight
        self.tokens[index], self.truncated[index] = flight.tokens, flight.truncated
        self.sizes[index] = flight.size
