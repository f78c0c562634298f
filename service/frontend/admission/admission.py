"""Who may start work on a model, so that its queue stays bounded.

Decided before any work is done for a call, and before its response headers. Unary calls are refused; streams,
which can pause their client, wait their turn. The same holds for both:

    it is full        items or bytes are at their limit, or the expected wait (`service/forecast.py`) is over
                      what the operator allows
    it stands         the expected wait is over a bound that falls while the queue stands
                      (`service/shedding.py`): who would hold more than its part of that bound gets no more
    it is contended   half of that, with several callers: who holds its part gets no more
                      (`service/fairness.py`)
    the deadline      comes before it could be answered: refused, however full it is
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
from worker.engine.batcher import BULK_SHARE
from worker.runtime.notices import Priority

__all__ = ["Admission", "Bounds"]

RETRY_SECONDS = (0.05, 10.0)
"""The least and the most that a refused caller is told to wait."""
FIRST_RETRY_SECONDS = 0.5
"""As long as no call has ended, so that nobody knows."""
CONTENDED = 0.5
"""How full the queue is when callers are weighed against each other."""
MARGIN = 1.2
"""Under overload, callers with equal deadlines keep the queue as long as they let it be: were that all of
their time, every second one would be answered too late, and its computing lost."""
STREAMS = 0.5
"""What streams may take of the queue: bulk work alone never fills it."""


class Bounds(NamedTuple):
    """How much may be in flight at a time. seconds: of expected wait."""

    items: int
    size: int = 1 << 29
    seconds: float = 10.0


class Admission:
    """All that is in flight for one model in this frontend.

    A call larger than the bounds is let in when nothing else is in flight: it is within the API's limits, so
    refusing it for ever would be wrong. A waiting stream keeps no unary call out. Where bulk work is held
    back, streams have less under way, so that other bulk calls do not wait for ever behind them.
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
        """workers: how many share the work. decoding: seconds until a picture would be decoded."""
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
        """Seconds until the device would begin what is let in now; 0.0 as long as nothing is known of it."""
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
    ) -> Ticket:
        """Lets a unary call in; `leave` must follow. Raises DeadlineTooShort or QueueFull.

        deadline: on this object's clock.
        """
        now = self._clock()
        wait = self.expected_wait(priority) if cost.items else 0.0
        if cost.images:
            wait = max(wait, self._decoding(priority))
        if deadline is not None and now + self._until_answered(wait, cost, priority) >= deadline:
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

    def leave(self, ticket: Ticket) -> None:
        """The items have ended, however they did."""
        for load in self._loads(ticket):
            load.remove(ticket.cost)
        self._shares.give_back(ticket.caller, ticket.cost)
        if not ticket.streamed:
            # By Little's law the time a call stays is what all now in flight need: when to come again.
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
        """What was measured is of the bulk work that is under way; without any the next may go at once."""
        return self._forecast.bulk_speed if self._of[Priority.BULK].calls else 1.0

    def _seconds(self, items: Sequence[int]) -> float:
        return self._forecast.seconds(items) / max(1, self._workers())

    def _until_answered(self, wait: float, cost: Cost, priority: Priority) -> float:
        """Seconds. wait: until it is begun."""
        own = self._seconds(cost[:3])
        if priority is Priority.BULK:  # held back, it needs several batches for its own items
            return wait + own / self._bulk_speed
        # Where others wait, more come, and fill up the batch that it is in.
        batch = min(self._forecast.batch_of(cost[:3]), wait + own)
        return MARGIN * (wait + max(own, batch))

    def _part(self, load: Load, cost: Cost, waiting: float) -> float:
        """How full the queue is with this load and cost. waiting: how much of the bound is waited for."""
        items = (load.total + cost.items) / self._bounds.items
        return max(items, (load.size + cost.size) / self._bounds.size, waiting)

    def _is_full(self, cost: Cost, wait: float) -> bool:
        """For everyone, whatever they hold."""
        return self._part(self._all, cost, wait / self._bounds.seconds) > 1

    def _is_over(self, cost: Cost, caller: str, waiting: float, bound: float, callers: int) -> bool:
        """For this caller, beside the others.

        Parts of the bound add up to the bound, so who stays within its own may come in while others, who
        came before the bound fell, hold all of it and more: they are refused until they hold less.
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
        """One part of a stream always does, so that streams move."""
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
        """Seconds until there should be room, at least these; scattered: not all come back at once."""
        low, high = RETRY_SECONDS
        seconds = min(max(self._residence or FIRST_RETRY_SECONDS, seconds, low), high)
        return seconds * random.uniform(0.75, 1.25) if self._jitter else seconds  # noqa: S311
