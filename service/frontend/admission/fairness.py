"""Callers beside one another: who holds how much of the queue, and whose stream is next. No clock, no I/O.

A caller is the name of an API key, or else the address it calls from. As long as nobody else comes, one
caller may use all of the queue. Once it is half full, whoever holds an equal part or more is refused first,
so that the others find the room that it leaves. Streams that wait are let in by turns of callers, not of
streams.
"""

from __future__ import annotations

import asyncio
from collections import deque

from service.frontend.admission.cost import Cost, Load, Ticket

__all__ = ["Line", "Shares"]

ACTIVE_SECONDS = 15.0
"""Who has not called for so long, and holds nothing, takes no part. Longer than who is refused stays away."""


class Shares:
    """What each caller holds, and how many share the queue."""

    def __init__(self) -> None:
        self._held: dict[str, Load] = {}
        self._seen: dict[str, float] = {}  # the one that was seen last is the last

    def active(self, caller: str, now: float) -> int:
        """How many callers take part, this one included, which is here now."""
        self._seen.pop(caller, None)
        self._seen[caller] = now
        while now - self._seen[oldest := next(iter(self._seen))] > ACTIVE_SECONDS:
            del self._seen[oldest]
            if oldest in self._held:
                self._seen[oldest] = now
        return len(self._seen)

    def of(self, caller: str) -> Load:
        """What the caller holds; not to be changed."""
        return self._held.get(caller) or Load()

    def take(self, caller: str, cost: Cost) -> None:
        """The caller holds so much more."""
        self._held.setdefault(caller, Load()).add(cost)

    def give_back(self, caller: str, cost: Cost) -> None:
        """The caller holds so much less."""
        held = self._held[caller]
        held.remove(cost)
        if not held.calls:
            del self._held[caller]


class Waiting:
    """One that waits. `turn` is done when it was let in."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Line:
    """Those who wait, in the order in which they are let in: one of each caller, then the next of each."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Waiting]] = {}  # the caller whose turn is next is the first

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, ticket: Ticket) -> Waiting:
        """At the end of the caller's own."""
        waiting = Waiting(ticket)
        self._waiting.setdefault(ticket.caller, deque()).append(waiting)
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """It does not wait any longer, if it still did."""
        own = self._waiting.get(waiting.ticket.caller, deque())
        if waiting in own:
            own.remove(waiting)
            if not own:
                del self._waiting[waiting.ticket.caller]

    @property
    def first(self) -> Waiting:
        """Whose turn is next; there must be one."""
        return next(iter(self._waiting.values()))[0]

    def admit(self) -> Waiting:
        """Takes the first out; its caller's next one comes after all other callers'."""
        waiting = self.first
        own = self._waiting.pop(waiting.ticket.caller)
        own.popleft()
        if own:
            self._waiting[waiting.ticket.caller] = own
        return waiting
