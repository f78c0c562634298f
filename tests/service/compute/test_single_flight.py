"""Equal work that is under way."""

from __future__ import annotations

import asyncio

import pytest

from service.frontend.compute.single_flight import Seat, SingleFlight
from worker.runtime.notices import Priority


class Kitchen:
    """Work that can be watched: how often it was begun, finished and given up."""

    def __init__(self) -> None:
        self.flights: SingleFlight[str, str] = SingleFlight()
        self.begun = self.finished = self.given_up = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def _cook(self) -> str:
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        self.finished += 1
        if self.error is not None:
            raise self.error
        return f"dish {self.finished}"

    def order(self, priority: Priority = Priority.INTERACTIVE, key: str = "soup") -> Seat[str]:
        return self.flights.join(key, priority, self._cook)


async def waiting(seat: Seat[str]) -> str:
    try:
        return await seat
    finally:
        seat.leave()


async def test_equal_work_is_done_once_and_all_get_its_result() -> None:
    kitchen = Kitchen()
    seats = [kitchen.order() for _ in range(5)]
    assert [seat.leads for seat in seats] == [True, False, False, False, False]
    other = kitchen.order(key="salad")
    kitchen.go_on.set()
    assert set(await asyncio.gather(*map(waiting, seats))) == {"dish 1"}
    assert await waiting(other) == "dish 2"
    assert (kitchen.begun, len(kitchen.flights)) == (2, 0)


async def test_who_goes_does_not_end_it_for_the_others_and_the_last_one_does() -> None:
    kitchen = Kitchen()
    callers = [asyncio.create_task(waiting(kitchen.order())) for _ in range(3)]
    await asyncio.sleep(0.01)
    for caller in callers[:2]:
        caller.cancel()
    await asyncio.sleep(0.01)
    assert (kitchen.begun, kitchen.given_up) == (1, 0)
    callers[2].cancel()
    await asyncio.sleep(0.01)
    assert (kitchen.given_up, len(kitchen.flights)) == (1, 0)


async def test_a_result_is_there_for_others_while_somebody_holds_it() -> None:
    kitchen = Kitchen()
    first = kitchen.order()
    kitchen.go_on.set()
    await first
    assert await waiting(kitchen.order()) == "dish 1"
    first.leave()
    assert await waiting(kitchen.order()) == "dish 2"


async def test_what_fails_fails_for_all() -> None:
    kitchen = Kitchen()
    kitchen.error = ValueError("burnt")
    seats = [kitchen.order() for _ in range(2)]
    kitchen.go_on.set()
    for seat in seats:
        with pytest.raises(ValueError, match="burnt"):
            await waiting(seat)


async def test_interactive_work_waits_for_no_bulk_work_but_bulk_for_interactive() -> None:
    kitchen = Kitchen()
    bulk = kitchen.order(Priority.BULK)
    mine = kitchen.order()
    joined = kitchen.order(Priority.BULK)
    assert [seat.leads for seat in (bulk, mine, joined)] == [True, True, False]
    kitchen.go_on.set()
    await asyncio.gather(*map(waiting, (bulk, mine, joined)))
    assert (kitchen.finished, len(kitchen.flights)) == (2, 0)
