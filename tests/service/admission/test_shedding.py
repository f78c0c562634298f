"""When a queue counts as standing, and when as empty again."""

from __future__ import annotations

from service.frontend.admission.shedding import Shedding


def observed(shedding: Shedding, waits: list[float], *, start: float = 0.0, batch: float = 0.01) -> float:
    """Ten waits a second; the bound after them."""
    now = start
    for number, wait in enumerate(waits):
        now = start + number / 10
        shedding.observe(wait, batch, now)
    return shedding.bound(now)


def test_a_burst_is_taken_up() -> None:
    assert observed(Shedding(10.0), [2.0] * 4 + [0.1] + [2.0] * 4) == 10.0


def test_a_queue_that_stands_lowers_the_bound() -> None:
    assert observed(Shedding(10.0), [2.0] * 10) == 0.25


def test_the_bound_stays_low_while_waits_are_about_the_target() -> None:
    assert observed(Shedding(10.0), [2.0] * 10 + [0.1, 0.3] * 50) == 0.25


def test_the_bound_is_high_again_after_a_calm_while() -> None:
    assert observed(Shedding(10.0), [2.0] * 10 + [0.1] * 19) == 0.25
    assert observed(Shedding(10.0), [2.0] * 10 + [0.1] * 22) == 10.0


def test_short_waits_are_no_calm_while_calls_are_refused() -> None:
    shedding = Shedding(10.0)
    observed(shedding, [2.0] * 10)
    for second in range(1, 10):
        assert observed(shedding, [0.1] * 10, start=second) == 0.25
        shedding.refused()
    assert observed(shedding, [0.1] * 22, start=10.0) == 10.0


def test_refusals_alone_are_no_standing_queue_nor_make_one_harder_to_see() -> None:
    shedding = Shedding(10.0)
    observed(shedding, [2.0] * 4)
    shedding.refused()
    assert shedding.bound(0.4) == 10.0
    assert observed(shedding, [2.0] * 2, start=0.5) == 0.25


def test_where_batches_are_long_several_of_them_may_be_waited_for() -> None:
    assert observed(Shedding(10.0), [9.0] * 10, batch=1.0) == 8.0


def test_the_bound_is_never_above_what_the_operator_allows() -> None:
    assert observed(Shedding(0.1), [2.0] * 10) == 0.1
    assert observed(Shedding(2.0), [5.0] * 10, batch=1.0) == 2.0


def test_what_was_long_ago_counts_no_more() -> None:
    shedding = Shedding(10.0)
    observed(shedding, [2.0] * 10)
    assert shedding.bound(30.0) == 10.0
    assert observed(shedding, [2.0], start=30.0) == 10.0
