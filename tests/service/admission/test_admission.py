"""Bounded work: who is let in, who is refused, who waits."""

from __future__ import annotations

import asyncio

import pytest

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Cost, Ticket
from service.frontend.api.errors import DeadlineTooShort, QueueFull
from service.frontend.compute.flights import Batch
from worker.runtime.notices import Modality, Priority


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def texts(count: int) -> Cost:
    return Cost(texts=count)


def measured(clock: Clock, *, items: int = 1000, seconds: float = 10.0, workers: int = 1) -> Admission:
    """One that has seen a full batch: ten texts in one second, so a text is a tenth of a second of work."""
    admission = Admission(Bounds(items, seconds=seconds), clock=clock, jitter=False, workers=lambda: workers)
    admission.observe(Batch(Modality.TEXT, items=10, of=10, fill=1.0, seconds=1.0, wait=0.0))
    return admission


def waited(seconds: float) -> Batch:
    """A full batch whose interactive items had waited so long."""
    return Batch(Modality.TEXT, items=10, of=10, fill=1.0, seconds=1.0, wait=seconds)


def test_items_are_admitted_up_to_the_limit() -> None:
    admission = Admission(Bounds(10))
    ticket = admission.enter(texts(10))
    with pytest.raises(QueueFull):
        admission.enter(texts(1))
    admission.leave(ticket)
    admission.enter(texts(1))


def test_bytes_are_admitted_up_to_their_limit() -> None:
    admission = Admission(Bounds(10, size=1000))
    admission.enter(Cost(images=1, size=900))
    with pytest.raises(QueueFull):
        admission.enter(Cost(images=1, size=200))
    admission.enter(Cost(images=1, size=50))


def test_a_call_over_the_limit_is_admitted_alone() -> None:
    admission = Admission(Bounds(10))
    ticket = admission.enter(texts(1000))
    with pytest.raises(QueueFull):
        admission.enter(texts(1))
    admission.leave(ticket)
    assert admission.in_flight == 0


def test_what_needs_no_device_is_never_refused() -> None:
    admission = measured(Clock(), items=10, seconds=1.0)
    admission.enter(texts(10))
    admission.enter(Cost())


def test_who_is_refused_hears_how_long_work_takes() -> None:
    clock = Clock()
    admission = Admission(Bounds(1), clock=clock, jitter=False)
    for _ in range(100):
        ticket = admission.enter(texts(1))
        clock.now += 2.0
        admission.leave(ticket)
    admission.enter(texts(1))
    with pytest.raises(QueueFull) as refused:
        admission.enter(texts(1))
    assert refused.value.retry_after == pytest.approx(2.0, rel=0.01)


def test_a_longer_wait_than_the_operator_allows_is_refused_until_it_is_shorter() -> None:
    admission = measured(Clock(), seconds=10.0)
    tickets = [admission.enter(texts(10)) for _ in range(10)]
    assert admission.expected_wait(Priority.INTERACTIVE) == pytest.approx(10.0)
    admission.leave(tickets.pop())
    admission.enter(texts(20))  # nine seconds are ahead of it
    with pytest.raises(QueueFull) as refused:
        admission.enter(texts(1))
    # Until half of what is allowed is left.
    assert refused.value.retry_after == pytest.approx(11.0 - 5.0)


def test_two_workers_make_the_wait_half_as_long() -> None:
    admission = measured(Clock(), workers=2)
    admission.enter(texts(40))
    assert admission.expected_wait(Priority.INTERACTIVE) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("ahead", "own", "seconds"),
    [
        (30, 1, 1.2 * (3.0 + 1.0)),  # the wait, and a batch that others fill up
        (2, 1, 1.2 * (0.2 + 0.3)),  # hardly anybody is there who might
        (0, 1, 1.2 * 0.1),
        (0, 25, 1.2 * 2.5),  # several batches of its own
    ],
)
def test_a_deadline_before_it_could_be_answered_is_refused_at_once(
    ahead: int, own: int, seconds: float
) -> None:
    clock = Clock()
    admission = measured(clock)
    admission.enter(texts(ahead))
    with pytest.raises(DeadlineTooShort):
        admission.enter(texts(own), deadline=clock.now + 0.99 * seconds)
    admission.enter(texts(own), deadline=clock.now + 1.01 * seconds)


def test_pictures_wait_for_decoders_too() -> None:
    admission = Admission(Bounds(1000, seconds=10.0), decoding=lambda priority: 11.0)
    admission.enter(texts(1))
    admission.enter(texts(1))
    with pytest.raises(QueueFull):
        admission.enter(Cost(images=1))


def test_a_deadline_that_has_passed_is_refused_however_idle_the_device() -> None:
    clock = Clock()
    with pytest.raises(DeadlineTooShort):
        Admission(Bounds(10), clock=clock).enter(texts(1), deadline=clock.now)


def test_nothing_is_refused_for_a_wait_that_nobody_has_measured() -> None:
    clock = Clock()
    admission = Admission(Bounds(10_000, seconds=0.01), clock=clock)
    for _ in range(100):
        admission.enter(texts(10), deadline=clock.now + 0.001)


def test_interactive_calls_hardly_wait_for_bulk_work_but_bulk_waits_for_both() -> None:
    admission = measured(Clock())
    admission.enter(texts(70), priority=Priority.BULK)
    assert admission.expected_wait(Priority.INTERACTIVE) == 0.0
    admission.enter(texts(7))
    assert admission.expected_wait(Priority.INTERACTIVE) == pytest.approx(0.8)
    assert admission.expected_wait(Priority.BULK) == pytest.approx(7.7)


def held_back(admission: Admission) -> None:
    """Interactive work leaves bulk work, some of which has to wait, a tenth of each batch."""
    for _ in range(40):
        admission.observe(Batch(Modality.TEXT, 10, 10, 1.0, 1.0, 0.0, bulk=1, left=True))


def test_bulk_calls_are_refused_at_once_where_they_are_held_back_past_their_deadline() -> None:
    clock = Clock()
    admission = measured(clock)
    admission.enter(texts(2), priority=Priority.BULK)
    held_back(admission)
    assert admission.expected_wait(Priority.BULK) == pytest.approx(2.0, rel=0.01)
    with pytest.raises(DeadlineTooShort):  # two seconds are ahead of it, and it takes one itself
        admission.enter(texts(1), priority=Priority.BULK, deadline=clock.now + 2.9)
    admission.enter(texts(1), priority=Priority.BULK, deadline=clock.now + 3.1)
    admission.enter(texts(1), deadline=clock.now + 0.2)  # whom it is held back for


def test_bulk_calls_that_are_held_back_wait_for_no_longer_than_the_operator_allows() -> None:
    admission = measured(Clock(), seconds=10.0)
    admission.enter(texts(11), priority=Priority.BULK)
    held_back(admission)
    with pytest.raises(QueueFull):
        admission.enter(texts(1), priority=Priority.BULK)


def test_how_bulk_work_was_held_back_counts_no_more_once_none_is_under_way() -> None:
    clock = Clock()
    admission = measured(clock)
    held_back(admission)
    admission.enter(texts(50), priority=Priority.BULK, deadline=clock.now + 5.1)


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


def test_while_the_queue_stands_calls_are_refused_early_and_let_in_again_when_it_has_emptied() -> None:
    clock = Clock()
    admission = measured(clock)
    ticket = admission.enter(texts(90))  # nine seconds, of ten that are allowed
    for _ in range(3):
        admission.observe(waited(9.0))
        clock.now += 0.3
    with pytest.raises(QueueFull):
        admission.enter(texts(1))
    admission.leave(ticket)
    admission.enter(texts(70))
    admission.enter(texts(1))  # seven seconds are no standing queue where a batch takes one
    admission.enter(texts(20))
    with pytest.raises(QueueFull):
        admission.enter(texts(1))
    for _ in range(10):
        admission.observe(waited(0.1))
        clock.now += 0.3
    admission.enter(texts(1))


def standing(clock: Clock, held: int, caller: str) -> tuple[Admission, list[Ticket]]:
    """One caller holds so many texts, 0.1 s each; then the bound falls from ten seconds to eight."""
    admission = measured(clock)
    tickets = [admission.enter(texts(1), caller) for _ in range(held)]
    for _ in range(3):
        admission.observe(waited(9.0))
        clock.now += 0.3
    return admission, tickets


def test_when_the_bound_falls_who_holds_little_still_comes_in() -> None:
    admission, _ = standing(Clock(), 90, "heavy")
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "heavy")
    for _ in range(8):
        admission.enter(texts(1), "light")  # 9.8 s in all
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "heavy")


def test_what_the_operator_allows_holds_for_who_holds_little_too() -> None:
    admission, _ = standing(Clock(), 90, "heavy")
    admission.enter(texts(20), "light")
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "light")


def test_over_a_low_bound_nobody_gets_more_than_its_part_of_it() -> None:
    admission, _ = standing(Clock(), 90, "heavy")
    with pytest.raises(QueueFull):
        admission.enter(texts(41), "light")  # half of eight seconds are forty texts
    admission.enter(texts(40), "light")


def test_the_bound_stays_low_while_a_caller_is_refused_however_short_the_waits() -> None:
    clock = Clock()
    admission, tickets = standing(clock, 90, "heavy")
    for _ in range(49):
        admission.leave(tickets.pop())
    admission.enter(texts(1), "light")
    for _ in range(20):  # six seconds in which heavy, which holds its half, asks for more
        with pytest.raises(QueueFull):
            admission.enter(texts(1), "heavy")
        admission.observe(waited(0.1))
        clock.now += 0.3
    for _ in range(8):
        admission.observe(waited(0.1))
        clock.now += 0.3
    admission.enter(texts(1), "heavy")  # a little over two seconds without: half of ten seconds are more


def test_one_caller_may_fill_the_queue_when_it_is_alone() -> None:
    admission = Admission(Bounds(10))
    for _ in range(10):
        admission.enter(texts(1), "one")
    assert admission.in_flight == 10


def test_a_caller_over_its_part_is_refused_before_the_others_are() -> None:
    admission = Admission(Bounds(10))
    held = [admission.enter(texts(1), "greedy") for _ in range(10)]
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "modest")
    for _ in range(3):
        admission.leave(held.pop())
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "greedy")
    for _ in range(3):
        admission.enter(texts(1), "modest")


def test_a_caller_that_has_gone_leaves_its_part_to_the_others() -> None:
    clock = Clock()
    admission = Admission(Bounds(10), clock=clock)
    admission.leave(admission.enter(texts(1), "gone"))
    for _ in range(5):
        admission.enter(texts(1), "here")
    with pytest.raises(QueueFull):
        admission.enter(texts(1), "here")
    clock.now += 20.0
    for _ in range(5):
        admission.enter(texts(1), "here")


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
