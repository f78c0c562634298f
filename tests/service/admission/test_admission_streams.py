"""Streams wait for the queue where unary calls are refused."""

from __future__ import annotations

import asyncio

import pytest

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Ticket
from tests.service.admission.measured import Clock, held_back, measured, texts, waited
from worker.runtime.notices import Priority


async def test_streams_that_are_held_back_leave_room_for_other_bulk_calls_and_still_move() -> None:
    admission = measured(Clock(), seconds=10.0)
    held_back(admission)
    first = await admission.wait(texts(6))  # six seconds, more than half of what is allowed
    second = asyncio.create_task(admission.wait(texts(6)))
    await asyncio.sleep(0)
    assert not second.done()
    admission.enter(texts(3), priority=Priority.BULK)
    admission.leave(first)
    await second


async def waiting(admission: Admission, order: list[str], caller: str, cost: int) -> Ticket:
    ticket = await admission.wait(texts(cost), caller)
    order.append(caller)
    return ticket


async def test_streams_wait_their_turn_in_order() -> None:
    admission = Admission(Bounds(16))
    first = await admission.wait(texts(8))
    order: list[str] = []
    tasks = [asyncio.create_task(waiting(admission, order, "", 5)) for _ in range(2)]
    await asyncio.sleep(0)
    assert order == []
    admission.leave(first)
    second = await tasks[0]
    await asyncio.sleep(0)
    assert not tasks[1].done()
    admission.leave(second)
    await tasks[1]


async def test_streams_are_let_in_by_turns_of_their_callers() -> None:
    admission = Admission(Bounds(2))
    ticket = await admission.wait(texts(1), "a")
    order: list[str] = []
    callers = ["a", "a", "a", "a", "b", "b", "c"]
    tasks = [asyncio.create_task(waiting(admission, order, caller, 1)) for caller in callers]
    await asyncio.sleep(0)
    while len(order) < len(callers):
        admission.leave(ticket)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (task,) = done
        tasks.remove(task)
        ticket = task.result()
    assert order == ["a", "b", "c", "a", "b", "a", "a"]


async def test_streams_wait_while_the_queue_stands_but_one_part_always_moves() -> None:
    clock = Clock()
    admission = measured(clock)
    first, second = await admission.wait(texts(45)), await admission.wait(texts(45))
    for _ in range(3):
        admission.observe(waited(9.0))
        clock.now += 0.3
    third = asyncio.create_task(admission.wait(texts(45)))
    await asyncio.sleep(0)
    admission.leave(first)
    await asyncio.sleep(0)
    assert not third.done()
    admission.leave(second)
    await third


async def test_bulk_alone_never_fills_the_queue() -> None:
    admission = Admission(Bounds(8))
    await admission.wait(texts(4))
    more = asyncio.create_task(admission.wait(texts(1)))
    await asyncio.sleep(0)
    assert not more.done()
    admission.enter(texts(4))  # a unary call is still let in
    more.cancel()


async def test_a_stream_that_gives_up_leaves_no_trace() -> None:
    admission = Admission(Bounds(8))
    first = await admission.wait(texts(4))
    gone = asyncio.create_task(admission.wait(texts(4)))
    next_one = asyncio.create_task(admission.wait(texts(2)))
    await asyncio.sleep(0)
    gone.cancel()
    admission.leave(first)
    await next_one
    assert gone.cancelled()
    assert admission.in_flight == 2


async def test_a_turn_that_comes_in_the_moment_of_cancelling_is_given_back() -> None:
    admission = Admission(Bounds(8))
    first = await admission.wait(texts(4))
    gone = asyncio.create_task(admission.wait(texts(4)))
    await asyncio.sleep(0)
    admission.leave(first)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert admission.in_flight == 0
