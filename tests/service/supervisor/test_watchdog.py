"""Whether a worker hangs, and what it counts as once it was killed for that."""

from __future__ import annotations

from service.supervisor.roster import Place
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


def test_a_process_that_was_killed_is_ready_no_more_however_long_it_takes_to_end() -> None:
    place = Place("altclip-worker m cpu", ready_since=10.0)
    assert place.ready
    place.kill("no progress for 60.1 s", now=90.0)
    assert not place.ready


def test_the_time_for_which_it_hung_is_no_service() -> None:
    place = Place("altclip-worker m cpu")
    assert place.served(now=99.0) == 0.0
    place.ready_since = 10.0
    assert place.served(now=99.0) == 89.0
    place.kill("no progress for 60.1 s", now=99.0, stuck_since=12.0)
    assert place.served(now=100.0) == 2.0
