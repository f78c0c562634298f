"""Five times overload, seen once for three faults.

10. The device does what it can, who is let in waits bounded, the rest is told.
11. Health answers without waiting for any of the work.
12. The load goes: queue wait is normal again within 5 s.

Counted in batches and items. How near the goodput is to the peak, and how long calls and health take, `make
overload` measures.
"""

from __future__ import annotations

from statistics import median

import pytest

from service.frontend.admission.shedding import TARGET_BATCHES
from tests.faults.harness import ROOM
from tests.faults.overload.overload import ITEMS, TOKENS, Overload, watch

LARGEST = 5
"""Tokens of the longest texts of the load."""


@pytest.fixture(scope="module")
def overload(tmp_path_factory: pytest.TempPathFactory) -> Overload:
    """Some seconds of five times what the device can do."""
    return watch(6.0, tmp_path_factory.mktemp("overload") / "queue")


def test_10_the_device_computes_full_batches_all_the_time(overload: Overload) -> None:
    batches = overload.during.batches[len(overload.before.batches) :]
    full = [batch for batch in batches if batch.cost("interactive") > TOKENS - LARGEST]
    assert len(full) >= 0.9 * len(batches)
    assert len(batches) > 20


def test_10_what_is_computed_is_answered(overload: Overload) -> None:
    answered = ITEMS * (len(overload.over.of("OK")) + sum(reply.status == 200 for reply in overload.http))
    assert sum(batch.items for batch in overload.during.batches) == answered
    assert overload.accepted == answered


def test_10_who_is_let_in_waits_for_a_bounded_number_of_batches(overload: Overload) -> None:
    for job in overload.during.jobs[len(overload.before.jobs) :]:
        assert job.waited_for is not None, "who is let in is computed"
        assert len(job.waited_for) <= 2 * TARGET_BATCHES


def test_10_the_rest_is_refused_and_told_when_to_come_again(overload: Overload) -> None:
    refused = overload.over.of("RESOURCE_EXHAUSTED")
    assert len(refused) + len(overload.over.of("OK")) == len(overload.over)
    assert len(refused) > len(overload.over) / 2
    assert {answer.reason for answer in refused} == {"QUEUE_FULL"}
    for answer in refused:
        assert answer.pushback == round(answer.retry * 1000) > 0


def test_10_the_rest_is_refused_over_http_too(overload: Overload) -> None:
    refused = [reply for reply in overload.http if reply.status != 200]
    assert len(refused) > 5
    assert {(reply.status, reply.code) for reply in refused} == {(429, "queue_full")}
    assert all(reply.says_when_to_come_again() for reply in refused)


def test_11_health_answers_under_overload(overload: Overload) -> None:
    for health in (overload.health, overload.http_health):
        assert len(health) > 5
        # Calls wait for the device, and health does not.
        assert median(health) < overload.over.latency(0.5) / 2
        assert max(health) < 0.1 + ROOM


def test_12_the_queue_is_empty_and_the_wait_normal_again_within_five_seconds(overload: Overload) -> None:
    assert overload.emptied < 5.0 + ROOM
    assert len(overload.after) > 5
    assert overload.after.share("OK") == 1.0
    # Normal is the rest of the batch that runs.
    for job in overload.all.jobs[len(overload.during.jobs) :]:
        assert job.waited_for == ()
