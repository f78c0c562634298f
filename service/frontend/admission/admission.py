"""Which calls may start work on a model, so that its queue stays bounded.

This is decided before any work is done for a call, and before its response headers. A unary call is refused;
a stream, which can pause its client, waits. The rules are the same for both:

    full        Items or bytes are at their limit, or the expected wait (`forecast.py`) is over what the
                operator allows: nobody is let in.
    standing    The expected wait is over a bound that falls while the queue stands (`shedding.py`): who would
                hold more than an equal share of that bound is not let in.
    contended   The queue is over half full and several callers use it: who holds an equal share already is
                not let in (`fairness.py`).
    deadline    The answer would come after the call's deadline: it is refused, however empty the queue is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.frontend.admission.cost import Cost, Load, Ticket
from service.frontend.admission.fairness import Line, Shares
from service.frontend.admission.forecast import Forecast
from service.frontend.admission.shedding import Shedding
from service.frontend.api.errors import DeadlineTooShort, QueueFull
from service.frontend.compute.flights import Batch
from service.frontend.compute.moving_average import blend
from worker.runtime.notices import BULK_SHARE, Priority

__all__ = ["Admission", "Bounds"]

RETRY_SECONDS = (0.05, 10.0)
"""The least and the most that a refused caller is told to wait."""
FIRST_RETRY_SECONDS = 0.5
"""What it is told as long as no call has ended, so that no time is known."""
CONTENDED = 0.5
"""How full the queue must be before callers are weighed against each other."""
MARGIN = 1.2
"""A factor on the expected time to an answer. Under overload, calls with equal deadlines fill the queue up to
that deadline. Without the factor every second answer would come too late, and its computation be wasted."""
STREAMS = 0.5
"""The part of the queue that streams may fill, so that bulk work alone never fills it."""


class Bounds(NamedTuple):
    """How much may be in flight at a time. size: in bytes. seconds: of expected wait."""

    items: int
    size: int = 1 << 29
    seconds: float = 10.0


class Admission:
    """The queue of one model in this frontend: all that is in flight.

    A call larger than the bounds is let in when nothing else is in flight: it is within the API's limits, so
    it must not be refused for ever. A stream that waits keeps no unary call out. Where workers hold bulk work
    back, streams have less in flight, so that other bulk calls do not wait for ever behind them.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        workers: Callable[[], int] = lambda: 1,
        decoding: Callable[[Priority], float] = lambda priority: 0.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: bool = True,
    ) -> None:
        """workers: how many share the work. decoding: seconds until a new picture would be decoded."""
        self._bounds = bounds
        self._workers = workers
        self._decoding = decoding
        self._clock = clock
        self._jitter = jitter
        self._forecast = Forecast()
        self._shedding = Shedding(bounds.seconds)
        self._all = Load()
        self._of = {priority: Load() for priority in Priority}
        self._streams = Load()
        self._shares = Shares()
        self._line = Line()
        self._residence = 0.0

    @property
    def in_flight(self) -> int:
        """Items of all kinds."""
        return self._all.total

    def observe(self, batch: Batch) -> None:
        """A batch of this model has ended."""
        self._forecast.observe(batch)
        if batch.wait is not None:
            self._shedding.observe(batch.wait, self._forecast.batch_seconds, self._clock())

    def expected_wait(self, priority: Priority) -> float:
        """Seconds until a device would begin what is let in now; 0.0 before anything was measured."""
        interactive, bulk = self._of[Priority.INTERACTIVE], self._of[Priority.BULK]
        seconds = self._seconds(interactive.items)
        if priority is Priority.BULK:
            alone = self._seconds(bulk.items)
            seconds = max(seconds + alone, alone / self._bulk_speed)
        elif bulk.calls:
            seconds /= 1 - 1 / BULK_SHARE
        return seconds

    def enter(
        self,
        cost: Cost,
        caller: str = "",
        priority: Priority = Priority.INTERACTIVE,
        deadline: float | None = None,
        *,
        whole: Cost | None = None,
    ) -> Ticket:
        """Lets a unary call in; `leave` must follow. Raises DeadlineTooShort or QueueFull.

        cost: of what it has in the queue at a time. deadline: in seconds of this object's clock. whole: of
        all that must be computed before its answer, where that is more.
        """
        now = self._clock()
        wait = self.expected_wait(priority) if cost.items else 0.0
        if cost.images:
            wait = max(wait, self._decoding(priority))
        if deadline is not None and now + self._until_answered(wait, whole or cost, priority) >= deadline:
            raise DeadlineTooShort
        callers = self._shares.active(caller, now)
        if cost.items and self._all.total:
            bound = self._shedding.bound(now)
            if self._is_full(cost, wait) or self._is_over(cost, caller, wait / bound, bound, callers):
                self._shedding.refused()
                raise QueueFull(retry_after=self._retry_after(wait - bound / 2))
        return self._take(Ticket(cost, caller, priority, False, now))

    async def wait(self, cost: Cost, caller: str = "", priority: Priority = Priority.BULK) -> Ticket:
        """Lets a part of a stream in once there is room and it is its caller's turn; `leave` must follow."""
        ticket = Ticket(cost, caller, priority, True, self._clock())
        if not self._line and self._fits(ticket):
            return self._take(ticket)
        waiting = self._line.join(ticket)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._line.leave(waiting)
                self._wake()
            else:
                self.leave(ticket)  # its turn had come in the same moment
            raise
        return ticket

    def part(self, ticket: Ticket, cost: Cost) -> tuple[Ticket, Ticket]:
        """Two tickets in place of one, the second for this part of its cost. `leave` must follow for both."""
        rest = Cost(*(all_of - some for all_of, some in zip(ticket.cost, cost, strict=True)))
        self._take(ticket._replace(cost=Cost()))  # one call more, of no cost more
        return ticket._replace(cost=rest), ticket._replace(cost=cost)

    def leave(self, ticket: Ticket, *, stayed: bool = True) -> None:
        """The items have ended, with or without a result.

        stayed: False for a call that ended before it had its turn, such as an invalid one: how soon that was
        tells nothing of how long the others stay.
        """
        for load in self._loads(ticket):
            load.remove(ticket.cost)
        self._shares.give_back(ticket.caller, ticket.cost)
        if stayed and not ticket.streamed:
            # By Little's law all that is in flight now will have ended after the time that a call stays.
            self._residence = blend(self._residence, self._clock() - ticket.entered, 0.1)
        self._wake()

    def _take(self, ticket: Ticket) -> Ticket:
        for load in self._loads(ticket):
            load.add(ticket.cost)
        self._shares.take(ticket.caller, ticket.cost)
        return ticket

    def _loads(self, ticket: Ticket) -> tuple[Load, ...]:
        both = (self._all, self._of[ticket.priority])
        return (*both, self._streams) if ticket.streamed else both

    @property
    def _bulk_speed(self) -> float:
        """The measured speed is that of bulk work in flight. Without any, new bulk work may start at once."""
        return self._forecast.bulk_speed if self._of[Priority.BULK].calls else 1.0

    def _seconds(self, items: Sequence[int]) -> float:
        return self._forecast.seconds(items) / max(1, self._workers())

    def _until_answered(self, wait: float, cost: Cost, priority: Priority) -> float:
        """Seconds until the call's answer. wait: until its work is begun."""
        own = self._seconds(cost[:3])
        if priority is Priority.BULK:  # workers hold it back: its own items take several batches
            return wait + own / self._bulk_speed
        # Where others wait, more will come and fill up the batch that this call is in.
        batch = min(self._forecast.batch_of(cost[:3]), wait + own)
        return MARGIN * (wait + max(own, batch))

    def _part(self, load: Load, cost: Cost, waiting: float) -> float:
        """How full the queue is with this load and cost. waiting: the expected wait, by its bound."""
        items = (load.total + cost.items) / self._bounds.items
        return max(items, (load.size + cost.size) / self._bounds.size, waiting)

    def _is_full(self, cost: Cost, wait: float) -> bool:
        """Whether the queue is full for every caller."""
        return self._part(self._all, cost, wait / self._bounds.seconds) > 1

    def _is_over(self, cost: Cost, caller: str, waiting: float, bound: float, callers: int) -> bool:
        """Whether the queue is full for this caller, beside the others.

        After the bound has fallen, callers that came before may hold all of it and more. They are refused
        until they hold less. A caller within an equal share of the bound is let in all the same.
        """
        full = self._part(self._all, cost, waiting)
        if callers == 1 or full <= CONTENDED:
            return full > 1
        theirs = self._shares.of(caller)
        seconds = self._seconds(theirs.items)
        if full > 1:
            seconds += self._seconds(cost[:3])
            return self._part(theirs, cost, seconds / bound) > 1 / callers
        return self._part(theirs, Cost(), seconds / bound) >= 1 / callers

    def _fits(self, ticket: Ticket) -> bool:
        """Whether there is room for a part of a stream. There always is for one, so that streams move."""
        if not self._streams.calls:
            return True
        bound = self._shedding.bound(self._clock())
        speed = self._bulk_speed if ticket.priority is Priority.BULK else 1.0
        streamed = self._part(self._streams, ticket.cost, self._seconds(self._streams.items) / speed / bound)
        everything = self._part(self._all, ticket.cost, self._seconds(self._all.items) / bound)
        return streamed <= STREAMS and everything <= 1

    def _wake(self) -> None:
        while self._line and self._fits(self._line.first.ticket):
            waiting = self._line.admit()
            if not waiting.turn.done():
                self._take(waiting.ticket)
                waiting.turn.set_result(None)

    def _retry_after(self, seconds: float) -> float:
        """Seconds until there should be room, at least these; scattered, so that not all return at once."""
        low, high = RETRY_SECONDS
        seconds = min(max(self._residence or FIRST_RETRY_SECONDS, seconds, low), high)
        return seconds * random.uniform(0.75, 1.25) if self._jitter else seconds  # noqa: S311
