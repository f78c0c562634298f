"""Fairness between callers: how much of the queue each holds, and whose stream is next. No clock, no I/O.

A caller is the name of an API key, or else a network address. A caller that is alone may use all of the
queue. With several callers, once the queue is half full, those that hold an equal share or more are refused
first, which leaves room for the others. Streams that wait are let in by turns of callers, not of streams.
"""

from __future__ import annotations

import asyncio
from collections import deque

from service.frontend.admission.cost import Cost, Load, Ticket

__all__ = ["Line", "Shares"]

ACTIVE_SECONDS = 15.0
"""After so long without a call, a caller that holds nothing no longer counts. Refused callers are told to
wait for less."""


class Shares:
    """What each caller holds, and how many callers share the queue."""

    def __init__(self) -> None:
        self._held: dict[str, Load] = {}
        self._seen: dict[str, float] = {}  # in the order in which they last called

    def active(self, caller: str, now: float) -> int:
        """How many callers share the queue, with this one, which calls now."""
        self._seen.pop(caller, None)
        self._seen[caller] = now
        while now - self._seen[oldest := next(iter(self._seen))] > ACTIVE_SECONDS:
            del self._seen[oldest]
            if oldest in self._held:
                self._seen[oldest] = now
        return len(self._seen)

    def of(self, caller: str) -> Load:
        """What the caller holds. It must not be changed."""
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
    """A part of a stream that waits. `turn` is done when it is let in."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Line:
    """All that wait, in the order in which they are let in: one of each caller, then the next of each."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Waiting]] = {}  # the caller whose turn is next is the first

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, ticket: Ticket) -> Waiting:
        """Waits behind all others of the same caller."""
        waiting = Waiting(ticket)
        self._waiting.setdefault(ticket.caller, deque()).append(waiting)
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """Takes it out, if it still waits."""
        own = self._waiting.get(waiting.ticket.caller, deque())
        if waiting in own:
            own.remove(waiting)
            if not own:
                del self._waiting[waiting.ticket.caller]

    @property
    def first(self) -> Waiting:
        """The one whose turn is next; there must be one."""
        return next(iter(self._waiting.values()))[0]

    def admit(self) -> Waiting:
        """Takes the first out. Its caller's next turn comes after those of all other callers."""
        waiting = self.first
        own = self._waiting.pop(waiting.ticket.caller)
        own.popleft()
        if own:
            self._waiting[waiting.ticket.caller] = own
        return waiting
