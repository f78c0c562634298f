"""12. The load goes: queue wait is normal again within 5 s."""

from __future__ import annotations

from tests.faults.harness import ROOM
from tests.faults.overload.overload import Overload


def test_12_the_queue_is_empty_and_the_wait_normal_again_within_five_seconds(overload: Overload) -> None:
    assert overload.emptied < 5.0 + ROOM
    assert len(overload.after) > 5
    assert overload.after.share("OK") == 1.0
    # Normal is the rest of the batch that runs.
    for job in overload.all.jobs[len(overload.during.jobs) :]:
        assert job.waited_for == ()
