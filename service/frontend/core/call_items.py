"""What one call wants computed: its items, what became of each, and how they are counted.

add ─▶ find, refuse, lead ─▶ outcomes ─▶ retry, where a stream may ─▶ the end: left and counted
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from service.frontend.api.errors import DeadlineTooShort, ServiceError, WorkerUnavailable
from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Computing, Prepared, Shared
from service.frontend.compute.content_cache import Key, Row
from service.frontend.compute.flights import Outcome
from worker.runtime.notices import Modality

__all__ = ["Wanted"]


class Wanted:
    """What one call wants computed: a context, at whose end nothing is waited for and all items are counted.

    strict: a bad item is the error of the call. tokens, truncated: of the items, in the order of `add`.
    """

    def __init__(self, computing: Computing, call: Call, *, strict: bool = True) -> None:
        self.call = call
        self.strict = strict
        self.tokens: list[int] = []
        self.truncated: list[bool] = []
        self._computing = computing
        self._modalities: list[Modality] = []
        self._outcomes: list[Outcome | None] = []
        self._flights: dict[int, Shared] = {}
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
        if self._accepted:
            self._count(cancelled=isinstance(error, asyncio.CancelledError))

    def add(self, modality: Modality, count: int) -> range:
        """The places of so many items of the call."""
        start = len(self._outcomes)
        self.tokens += [0] * count
        self.truncated += [False] * count
        self._modalities += [modality] * count
        self._outcomes += [None] * count
        self._unsettled += count
        return range(start, start + count)

    def find(self, place: int, key: Key, *, uncut: bool = False) -> bool:
        """Whether that content was computed before or is being computed; then the item has what it needs.

        uncut: a text that was cut is only marked as truncated; it is to be refused.
        """
        known = self._computing.row(key) or self._computing.under_way(key, self.call.priority)
        if known is None:
            return False
        self.tokens[place], self.truncated[place] = known.tokens, known.truncated
        if uncut and known.truncated:
            return True
        if isinstance(known, Row):
            self.settle(place, Outcome(known.value))
        else:
            self._wait(place, known, final=False)
        return True

    def lead(self, items: Sequence[Prepared]) -> None:
        """Computes what was not found, unless it has been begun meanwhile."""
        begun: list[Shared] = []
        for prepared in items:
            shared = self._computing.under_way(prepared.key, self.call.priority)
            leads = shared is None
            if shared is None:
                shared = self._computing.begin(self.call, prepared)
                begun.append(shared)
            self._wait(prepared.place, shared, final=leads)
        if begun:
            self._computing.pool.start(begun)

    def again(self, prepared: Prepared) -> None:
        """Computes an item whose flight failed for reasons of another call, once and for all.

        Its new flight's deadline is no earlier than this call's.
        """
        shared = self._computing.under_way(prepared.key, self.call.priority)
        if shared is not None and (shared.deadline or math.inf) >= (self.deadline or math.inf):
            self._wait(prepared.place, shared, final=True)
        else:
            shared = self._computing.begin(self.call, prepared)
            self._wait(prepared.place, shared, final=True)
            self._computing.pool.start([shared])

    def retry(self, places: Sequence[int]) -> None:
        """Computes items once more whose outcome was an error."""
        self._unsettled += len(places)
        for place in places:
            self._outcomes[place] = None
        flights = [self._flights[place] for place in places]
        self.lead(
            [
                Prepared(place, each.key, each.item, each.truncated)
                for place, each in zip(places, flights, strict=True)
            ]
        )

    def refuse(self, place: int, error: ServiceError) -> None:
        """An item that has no outcome and waits for none: its content is not computed for it."""
        if self.strict:
            raise error
        self.settle(place, Outcome(None, error))

    def settle(self, place: int, outcome: Outcome) -> None:
        """The outcome of an item, which has none yet."""
        self._outcomes[place] = outcome
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
        """What became of each item, all of which are accepted now. Strict: raises the first's error."""
        if not self._accepted:
            self._accepted = True
            self._accept()
        if self._unsettled:
            self._done = asyncio.get_running_loop().create_future()
            await self._done
        outcomes = [outcome for outcome in self._outcomes if outcome is not None]
        if self.strict:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
        return outcomes

    def _wait(self, place: int, shared: Shared, *, final: bool) -> None:
        shared.waiting.append((self, place, final))
        self._flights[place] = shared
        self.tokens[place], self.truncated[place] = shared.tokens, shared.truncated

    def _accept(self) -> None:
        name = self._computing.pool.spec.name
        for modality in dict.fromkeys(self._modalities):
            count = self._modalities.count(modality)
            self._computing.metrics.accepted.inc(name, modality.label, by=count)

    def _count(self, cancelled: bool) -> None:
        name = self._computing.pool.spec.name
        ended: dict[tuple[Modality, str], int] = {}
        for modality, outcome in zip(self._modalities, self._outcomes, strict=True):
            key = modality, _label(outcome, cancelled)
            ended[key] = ended.get(key, 0) + 1
        for (modality, label), number in ended.items():
            self._computing.metrics.items.inc(name, modality.label, label, by=number)


def _label(outcome: Outcome | None, cancelled: bool) -> str:
    """cancelled: the call was, so that what might have been computed once more was not."""
    if outcome is None:
        return "cancelled"
    if outcome.error is None:
        return "ok"
    if isinstance(outcome.error, DeadlineTooShort):
        return "cancelled"
    return "cancelled" if cancelled and isinstance(outcome.error, WorkerUnavailable) else "failed"
