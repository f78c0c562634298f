"""10. Five times overload: the device does what it can, who is let in waits bounded, the rest is told."""

from __future__ import annotations

from tests.faults.overload.overload import Overload


def test_10_goodput_stays_near_the_peak(overload: Overload) -> None:
    assert overload.goodput >= 0.9 * overload.peak


def test_10_who_is_let_in_does_not_wait_for_long(overload: Overload) -> None:
    # A burst of half a second is taken up before the queue counts as standing: two seconds of work.
    assert overload.over.latency(0.99) < 2.5


def test_10_the_rest_is_refused_at_once_and_told_when_to_come_again(overload: Overload) -> None:
    refused = overload.over.of("RESOURCE_EXHAUSTED")
    assert len(refused) + len(overload.over.of("OK")) == len(overload.over)
    assert len(refused) > 0.6 * len(overload.over)
    assert {answer.reason for answer in refused} == {"QUEUE_FULL"}
    for answer in refused:
        assert answer.pushback == round(answer.retry * 1000) > 0
    assert refused.latency(0.5, "RESOURCE_EXHAUSTED") < 0.1
