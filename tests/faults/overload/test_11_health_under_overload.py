"""11. Under five times overload health still answers in under 100 ms."""

from __future__ import annotations

from tests.faults.overload.overload import Overload


def test_11_health_answers_in_under_100_ms(overload: Overload) -> None:
    late = [seconds for seconds in overload.health if seconds >= 0.1]
    assert len(overload.health) >= 40
    # On a shared machine now and then any process stands still for as long, the one that asks here too.
    assert len(late) <= 0.02 * len(overload.health), late
