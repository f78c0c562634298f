"""Who may start work: `Gate` for the whole frontend (draining), `Admission` for each model (bounded work).

Decided before any work is done for a call, and before its response headers. Unary calls are refused; streams,
which can pause their client, wait their turn. Imports no transport.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Self

from service.errors import Draining, QueueFull
from service.messages import Item

__all__ = ["Admission", "Cost", "Gate"]

RETRY_SECONDS = (0.05, 10.0)
"""The least and the most that a refused caller is told to wait."""


class Cost(NamedTuple):
    """What a call asks of the device: how many items of each kind it will compute."""

    texts: int = 0
    images: int = 0
    prompts: int = 0

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self:
        """Of both sides of a comparison; vectors cost nothing."""
        texts = images = 0
        for item in items:
            if item.text is not None:
                texts += 1
            elif item.vector is None:
                images += 1
        return cls(texts, images)

    @property
    def items(self) -> int:
        """All of them."""
        return self.texts + self.images + self.prompts


class Gate:
    """Counts the calls that were let in; once closed it lets none in, and tells when the last has left."""

    def __init__(self) -> None:
        self.active = 0
        self.last_call = asyncio.Event()
        """Streams that are still on read no further, so that they end in time."""
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Raises `Draining`; otherwise `leave` must follow."""
        if self._closed:
            raise Draining
        self.active += 1
        self._idle.clear()

    def leave(self) -> None:
        """The call has its answer."""
        self.active -= 1
        if self.active == 0:
            self._idle.set()

    def close(self) -> None:
        """From now on every call is refused; those that were let in go on, streams until `last_call`."""
        self._closed = True

    async def idle(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()


class Admission:
    """The items of one model that are in flight in this frontend, at most `limit`.

    A call larger than the limit is let in when nothing else is in flight: it is within the API's limits, so
    refusing it for ever would be wrong. A waiting stream keeps no unary call out, and gets only what `share`
    leaves it: bulk work alone never fills the queue.
    """

    def __init__(
        self,
        limit: int,
        *,
        share: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        jitter: bool = True,
    ) -> None:
        self.limit = limit
        self.in_flight = 0
        self._bulk_limit = max(1, int(limit * share))
        self._bulk = 0
        self._clock = clock
        self._jitter = jitter
        self._residence = RETRY_SECONDS[0]
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def enter(self, cost: int) -> float:
        """Admits `cost` items or raises `QueueFull`. `leave` must follow with what this returns."""
        if self.in_flight + cost > self.limit and self.in_flight > 0:
            raise QueueFull(retry_after=self.retry_after())
        self.in_flight += cost
        return self._clock()

    def leave(self, cost: int, entered: float) -> None:
        """The items have ended, however they did."""
        self.in_flight -= cost
        # By Little's law the time an item stays is the time that all now in flight need: when to come again.
        self._residence += 0.1 * (self._clock() - entered - self._residence)
        self._wake()

    async def wait(self, cost: int) -> None:
        """Admits `cost` bulk items once there is room, in the order of arrival. `leave_bulk` must follow."""
        if self._waiting or not self._fits(cost):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            place = (cost, turn)
            self._waiting.append(place)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave_bulk(cost)  # its turn had come in the same moment
                elif place in self._waiting:
                    self._waiting.remove(place)
                    self._wake()
                raise
        else:
            self._take(cost)

    def leave_bulk(self, cost: int) -> None:
        """The items of one `wait` have ended."""
        self.in_flight -= cost
        self._bulk -= cost
        self._wake()

    def retry_after(self) -> float:
        """Seconds until there should be room; scattered, so that not all come back at once."""
        low, high = RETRY_SECONDS
        seconds = min(max(self._residence, low), high)
        return seconds * random.uniform(0.75, 1.25) if self._jitter else seconds  # noqa: S311

    def _fits(self, cost: int) -> bool:
        return self._bulk == 0 or (
            self._bulk + cost <= self._bulk_limit and self.in_flight + cost <= self.limit
        )

    def _take(self, cost: int) -> None:
        self.in_flight += cost
        self._bulk += cost

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            cost, turn = self._waiting.popleft()
            if not turn.done():
                self._take(cost)
                turn.set_result(None)
