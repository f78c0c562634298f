"""Bounded work: which unary calls are let in and which are refused."""

from __future__ import annotations

import pytest

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Cost
from service.frontend.api.errors import DeadlineTooShort, QueueFull
from tests.service.admission.measured import Clock, held_back, measured, texts, waited
from worker.runtime.notices import Priority


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


def test_what_comes_in_parts_is_weighed_as_a_whole_against_its_deadline_alone() -> None:
    clock = Clock()
    admission = measured(clock, items=10)
    with pytest.raises(DeadlineTooShort):
        admission.enter(texts(10), deadline=clock.now + 11.9, whole=texts(100))
    assert admission.in_flight == 0
    admission.enter(texts(10), deadline=clock.now + 12.1, whole=texts(100))  # 10 s, and some margin
    assert admission.in_flight == 10


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


def test_calls_that_end_before_their_turn_shorten_no_ones_wait() -> None:
    clock = Clock()
    admission = Admission(Bounds(1), clock=clock, jitter=False)
    ticket = admission.enter(texts(1))
    clock.now += 2.0
    admission.leave(ticket)
    for _ in range(100):
        admission.leave(admission.enter(texts(1)), stayed=False)
    admission.enter(texts(1))
    with pytest.raises(QueueFull) as refused:
        admission.enter(texts(1))
    assert refused.value.retry_after == pytest.approx(2.0)


def test_the_parts_of_a_ticket_leave_on_their_own() -> None:
    admission = Admission(Bounds(10))
    rest, part = admission.part(admission.enter(Cost(texts=6, images=2)), texts(6))
    admission.leave(rest)
    assert admission.in_flight == 6
    with pytest.raises(QueueFull):
        admission.enter(texts(5))
    admission.leave(part)
    assert admission.in_flight == 0
    admission.enter(texts(11))  # more than there is room for is let in where nothing else is


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
