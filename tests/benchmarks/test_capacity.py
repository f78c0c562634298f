"""The simulation of many requests: the service's own batch decision under a clock of its own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from benchmarks.capacity import Device, Done, bursts, jobs, largest_rate, poisson, simulate
from worker.engine.batcher import Budget, Policy
from worker.engine.jobs import Job
from worker.runtime.notices import Modality, Priority

POLICY = Policy(dict.fromkeys(Modality, Budget(64, 64)))
SLOW = dict.fromkeys(Modality, Device(0.05, cost=0.002))
"""A full batch takes 178 ms."""


def merged(*streams: Iterable[Job]) -> Iterable[Job]:
    return heapq.merge(*streams, key=lambda job: job.submitted)


def bulk_batches_before(done: Done, everything: list[Done]) -> int:
    """How many batches with nothing but bulk work were begun while this one waited."""
    meanwhile: dict[int, bool] = {}
    for other in everything:
        if done.job.submitted < other.started < done.started:
            only = meanwhile.get(other.batch, True)
            meanwhile[other.batch] = only and other.job.priority is Priority.BULK
    return sum(meanwhile.values())


def test_a_device_that_is_free_begins_at_once() -> None:
    (done,) = simulate(jobs([1.0], [10]), POLICY, SLOW)
    assert done.started == 1.0
    assert done.ended == pytest.approx(1.07)


def test_whoever_comes_while_the_device_is_busy_shares_the_next_batch() -> None:
    found = list(simulate(jobs([0.0, 0.01, 0.02], [10, 10, 10]), POLICY, SLOW))
    assert [done.batch for done in found] == [1, 2, 2]
    assert found[1].started == found[0].ended


def test_work_goes_to_the_worker_with_the_least_load() -> None:
    found = list(simulate(jobs([0.0, 0.01], [10, 10]), POLICY, SLOW, replicas=2))
    assert [done.started for done in found] == [0.0, 0.01]


@pytest.mark.parametrize("seed", range(5))
def test_a_bulk_batch_never_delays_an_interactive_item_by_more_than_one_batch(seed: int) -> None:
    """Texts of both kinds: whatever runs when it comes is all that an interactive item waits for."""
    flood = jobs([0.0] * 4000, itertools.repeat(8), Modality.TEXT, Priority.BULK)
    interactive = jobs(poisson(8, 40, seed), itertools.repeat(8))
    found = list(simulate(merged(flood, interactive), POLICY, SLOW))
    waited = [done for done in found if done.job.priority is Priority.INTERACTIVE]
    assert len(waited) == 320
    assert max(bulk_batches_before(done, found) for done in waited) == 0
    longest = SLOW[Modality.TEXT].batch + 64 * SLOW[Modality.TEXT].cost
    assert max(done.started - done.job.submitted for done in waited) <= longest


@pytest.mark.parametrize("seconds", [0.02, 0.2, 1.0])
def test_with_bulk_texts_and_bulk_images_it_is_still_one_batch(seconds: float) -> None:
    """Both kinds of bulk work want their turn: one bulk batch may go before it, never two."""
    device = dict.fromkeys(Modality, Device(seconds, cost=0.0005))
    floods = [
        jobs([0.0] * 3000, itertools.repeat(8), modality, Priority.BULK)
        for modality in (Modality.TEXT, Modality.IMAGE)
    ]
    interactive = jobs(poisson(0.4 / seconds, 200 * seconds), itertools.repeat(8))
    found = list(simulate(merged(*floods, interactive), POLICY, device))
    waited = [done for done in found if done.job.priority is Priority.INTERACTIVE]
    assert len(waited) == 80
    assert max(bulk_batches_before(done, found) for done in waited) <= 1


def test_bulk_work_moves_beside_interactive_work() -> None:
    flood = jobs([0.0] * 500, itertools.repeat(8), Modality.TEXT, Priority.BULK)
    interactive = jobs(poisson(60, 60), itertools.repeat(8))
    found = list(simulate(merged(flood, interactive), POLICY, SLOW))
    bulk = [done for done in found if done.job.priority is Priority.BULK]
    assert len(bulk) == 500
    assert sum(done.ended < 20 for done in bulk) > 30


def test_bursts_have_the_rate_that_was_asked_for_and_come_together() -> None:
    even, uneven = poisson(200, 200), bursts(200, 200)
    assert len(uneven) == pytest.approx(len(even), rel=0.15)

    def spread(moments: list[float]) -> float:
        return float(np.var(np.bincount(np.asarray(moments, int))))

    assert spread(uneven) > 3 * spread(even)


def test_the_largest_rate_keeps_its_promise_and_a_tenth_more_breaks_it() -> None:
    device, bound, costs = Device(0.05, item=0.002), 0.4, [1]
    limit = 64 / (0.05 + 64 * 0.002)
    rate = largest_rate(POLICY, device, costs, bound, limit, count=5000)

    def p99(rate: float) -> float:
        made = jobs(poisson(rate, 5000 / rate), itertools.cycle(costs))
        everything = dict.fromkeys(Modality, device)
        return float(np.quantile([done.latency for done in simulate(made, POLICY, everything)], 0.99))

    assert p99(rate) <= bound < p99(1.1 * rate)


def test_a_wait_for_company_is_not_simulated() -> None:
    with pytest.raises(ValueError, match="wait"):
        list(simulate([], Policy(POLICY.budgets, wait=0.1), SLOW))
