"""What the supervisor knows of a place whose process it has killed."""

from __future__ import annotations

from service.supervisor.roster import Place


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
