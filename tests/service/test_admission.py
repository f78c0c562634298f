"""Bounded work: who is let in, who is refused, who waits."""

from __future__ import annotations

import asyncio

import pytest

from service.admission import Admission, Gate
from service.errors import Draining, QueueFull


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_items_are_admitted_up_to_the_limit() -> None:
    admission = Admission(10)
    entered = admission.enter(10)
    with pytest.raises(QueueFull):
        admission.enter(1)
    admission.leave(10, entered)
    admission.enter(1)


def test_a_call_over_the_limit_is_admitted_alone() -> None:
    admission = Admission(10)
    entered = admission.enter(1000)
    with pytest.raises(QueueFull):
        admission.enter(1)
    admission.leave(1000, entered)
    assert admission.in_flight == 0


def test_who_is_refused_hears_how_long_work_takes() -> None:
    clock = Clock()
    admission = Admission(1, clock=clock, jitter=False)
    for _ in range(100):
        entered = admission.enter(1)
        clock.now += 2.0
        admission.leave(1, entered)
    admission.enter(1)
    with pytest.raises(QueueFull) as refused:
        admission.enter(1)
    assert refused.value.retry_after == pytest.approx(2.0, rel=0.01)


async def test_streams_wait_their_turn_in_order() -> None:
    admission = Admission(8, share=0.5)
    await admission.wait(4)
    order: list[int] = []

    async def stream(number: int) -> None:
        await admission.wait(3)
        order.append(number)

    waiting = [asyncio.create_task(stream(number)) for number in range(2)]
    await asyncio.sleep(0)
    assert order == []
    admission.leave_bulk(4)
    await asyncio.sleep(0)
    assert order == [0]
    admission.leave_bulk(3)
    await asyncio.gather(*waiting)
    assert order == [0, 1]


async def test_bulk_alone_never_fills_the_queue() -> None:
    admission = Admission(8, share=0.5)
    await admission.wait(4)
    waiting = asyncio.create_task(admission.wait(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.enter(4)  # a unary call is still let in
    waiting.cancel()


async def test_a_stream_that_gives_up_leaves_no_trace() -> None:
    admission = Admission(4, share=1.0)
    await admission.wait(4)
    gone = asyncio.create_task(admission.wait(4))
    next_one = asyncio.create_task(admission.wait(2))
    await asyncio.sleep(0)
    gone.cancel()
    admission.leave_bulk(4)
    await next_one
    assert gone.cancelled()
    assert admission.in_flight == 2


async def test_a_turn_that_comes_in_the_moment_of_cancelling_is_given_back() -> None:
    admission = Admission(4, share=1.0)
    await admission.wait(4)
    gone = asyncio.create_task(admission.wait(4))
    await asyncio.sleep(0)
    admission.leave_bulk(4)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert admission.in_flight == 0


async def test_a_closed_gate_refuses_and_tells_when_the_last_has_left() -> None:
    gate = Gate()
    gate.enter()
    gate.close()
    with pytest.raises(Draining):
        gate.enter()
    idle = asyncio.create_task(gate.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.leave()
    await idle
