"""12. The load goes: queue wait is normal again within 5 s."""

from __future__ import annotations

from tests.faults.overload.overload import BATCH_SECONDS, Overload


def test_12_the_wait_is_normal_again_within_five_seconds(overload: Overload) -> None:
    after = overload.after
    assert after.share("OK") == 1.0
    waits = sorted(answer.queued for answer in after if 3.0 <= answer.due - overload.ended < 5.0)
    before = sorted(answer.queued for answer in overload.calm)
    assert len(waits) >= 5
    # Normal is the rest of the batch that runs; one of ten may be unlucky.
    assert before[int(0.9 * len(before))] < 2 * BATCH_SECONDS
    assert waits[int(0.9 * len(waits))] < 2 * BATCH_SECONDS
