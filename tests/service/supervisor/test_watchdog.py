"""Whether a worker hangs."""

from __future__ import annotations

from service.supervisor.watchdog import Clock, is_stuck

LIMIT = 10.0


def test_an_idle_worker_is_never_stuck() -> None:
    assert not is_stuck(0.0, last_progress=1.0, now=1e6, limit=LIMIT)


def test_one_that_owes_an_answer_and_stands_still_is() -> None:
    assert not is_stuck(100.0, last_progress=50.0, now=110.0, limit=LIMIT)
    assert is_stuck(100.0, last_progress=50.0, now=110.1, limit=LIMIT)


def test_progress_counts_however_long_an_item_has_waited() -> None:
    assert not is_stuck(100.0, last_progress=995.0, now=1000.0, limit=LIMIT)


def test_it_never_fires_under_sustained_saturation() -> None:
    # A batch each 9 s, for a day, and always an item that has waited 5 minutes.
    for ended in range(0, 86_400, 9):
        assert not is_stuck(max(1.0, ended - 300.0), last_progress=ended, now=ended + 9.0, limit=LIMIT)


def test_nobody_is_blamed_for_a_machine_that_slept() -> None:
    clock = Clock(interval=1.0, looked=100.0)
    assert clock.look(101.0) == 0.0
    awake_since = clock.look(500.0)
    assert awake_since == 500.0
    assert not is_stuck(100.0, max(90.0, awake_since), now=500.0, limit=LIMIT)
    assert is_stuck(100.0, max(90.0, clock.look(501.0)), now=511.0, limit=LIMIT)
