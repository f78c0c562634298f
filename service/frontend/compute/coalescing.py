"""Coalescing: equal contents that are wanted at the same time are computed once, for all calls that wait.

    CallItems asks ─▶ is it cached? is it under way for another call? ─▶ joined
                  └─▶ a flight that others may join ─▶ ModelPool.start ─▶ land ─▶ the cache, and all who wait

A flight goes on while any call waits for it, and is taken back when the last one has gone. Interactive work
does not join bulk work. An error of the content is the error of all calls that wait. If the worker died, or
the deadline of the call that came first passed, the others compute the content once more, together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from service.frontend.api.encodings import finite
from service.frontend.api.errors import DeadlineTooShort, Internal, WorkerUnavailable
from service.frontend.calls.call import Call
from service.frontend.compute.content_cache import ContentCache, ContentKey, Row
from service.frontend.compute.flights import Flight, Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority

__all__ = ["Coalescer", "Prepared", "SharedFlight"]


@dataclass(slots=True)
class Prepared:
    """An item that is ready to be computed. index: among its call's items. size: as in `Row`."""

    index: int
    key: ContentKey
    item: WorkItem
    truncated: bool = False
    size: tuple[int, int] = (0, 0)


_OF_THE_FIRST = (DeadlineTooShort, WorkerUnavailable)
"""Errors of the call that came first, or of its worker: others may have the content all the same."""


class Waiter(Protocol):
    """A call that waits for contents: a `CallItems`."""

    @property
    def deadline(self) -> float | None:
        """In time.monotonic() seconds, None for none."""
        ...

    def in_time(self) -> bool:
        """Whether its deadline has not passed."""
        ...

    def settle(self, index: int, outcome: Outcome) -> None:
        """Sets the outcome of one of its items."""
        ...

    def again(self, prepared: Prepared) -> None:
        """The flight of one of its items failed for reasons of another call."""
        ...


class SharedFlight(Flight):
    """A flight for all calls that want this content.

    waiting: for each its call, the item's index there, and whether the outcome is final whatever it is.
    """

    __slots__ = ("_coalescer", "key", "size", "truncated", "waiting")

    def __init__(self, coalescer: Coalescer, call: Call, prepared: Prepared) -> None:
        super().__init__(prepared.item, call.priority, call.deadline)
        self._coalescer = coalescer
        self.key = prepared.key
        self.truncated = prepared.truncated
        self.size = prepared.size
        self.waiting: list[tuple[Waiter, int, bool]] = []

    @property
    def tokens(self) -> int:
        return 0 if self.item.modality is Modality.IMAGE else len(self.item.payload)

    def land(self, outcome: Outcome) -> None:
        if outcome.value is not None and not finite(outcome.value):
            # A fault of the model with this content alone. It is not kept: a device may err once.
            outcome = outcome._replace(value=None, error=Internal())
        self._coalescer.landed(self, outcome)
        waiting, self.waiting = self.waiting, []
        of_the_first = isinstance(outcome.error, _OF_THE_FIRST)
        again: list[tuple[Waiter, int]] = []
        for waiter, index, final in waiting:
            if of_the_first and not final and waiter.in_time():
                again.append((waiter, index))
            else:
                waiter.settle(index, outcome)
        # The call with the latest deadline begins, so that the others can rely on its flight and join it.
        for waiter, index in sorted(again, key=lambda one: one[0].deadline or math.inf, reverse=True):
            waiter.again(self.prepared(index))

    def prepared(self, index: int) -> Prepared:
        """What it computes, as an item of a call."""
        return Prepared(index, self.key, self.item, self.truncated, self.size)

    def leave(self, waiter: Waiter) -> None:
        """This call no longer waits."""
        if self.waiting:
            self.waiting = [one for one in self.waiting if one[0] is not waiter]
            if not self.waiting:
                self._coalescer.abandon(self)


class Coalescer:
    """All flights of one model in this frontend by their content, and the cache of what was computed."""

    def __init__(self, pool: ModelPool, cache: ContentCache, metrics: Metrics) -> None:
        self.pool = pool
        self.metrics = metrics
        self._cache = cache
        self._under_way: dict[ContentKey, SharedFlight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def key(self, modality: Modality, content: bytes, variant: int = 0) -> ContentKey:
        """The key of a content of this model. content: its digest."""
        return ContentKey(self.pool.spec.name, self.pool.revision, modality, variant, content)

    def row(self, key: ContentKey) -> Row | None:
        """What was computed before; None where nothing is known."""
        if not self._keeps(key):
            return None
        row = self._cache.get(key)
        self.metrics.cache_lookups.inc("miss" if row is None else "hit")
        return row

    def under_way(self, key: ContentKey, priority: Priority) -> SharedFlight | None:
        """The flight of this content that work of this priority may join, if there is one."""
        shared = self._under_way.get(key)
        return None if shared is None or shared.priority > priority else shared

    def begin(self, call: Call, prepared: Prepared) -> SharedFlight:
        """A new flight for a call, which starts it. Others find it from now on."""
        shared = self._under_way[prepared.key] = SharedFlight(self, call, prepared)
        return shared

    def landed(self, shared: SharedFlight, outcome: Outcome) -> None:
        """A flight has ended with this outcome."""
        self._forget(shared)
        if outcome.value is not None and self._keeps(shared.key):
            outcome.value.flags.writeable = False  # from now on it belongs to many
            row = Row(outcome.value, shared.tokens, shared.truncated, shared.size)
            self._cache.put(shared.key, row)

    def abandon(self, shared: SharedFlight) -> None:
        """Nobody waits for this flight any more."""
        self._forget(shared)
        self.pool.take_back(shared)

    def _keeps(self, key: ContentKey) -> bool:
        """Whether results are cached: not before the weights are known, since others might follow."""
        return self._cache.most_bytes > 0 and key.revision != ""

    def _forget(self, shared: SharedFlight) -> None:
        if self._under_way.get(shared.key) is shared:
            del self._under_way[shared.key]
