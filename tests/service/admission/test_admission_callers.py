"""Callers beside one another: who is refused where they contend for the queue."""

from __future__ import annotations

import pytest

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Ticket
from service.frontend.api.errors import QueueFull
from tests.service.admission.measured import Clock, measured, texts, waited


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
