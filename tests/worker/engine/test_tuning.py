"""How large batches are made, with devices that take a known time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, cycle

import pytest

from worker.engine.batcher import Budget
from worker.engine.tuning import budgets, hardly_longer, measure, smallest_fast_enough
from worker.families import family
from worker.models.sources import resolve
from worker.runtime.notices import Modality

SIZES = (1, 2, 4, 8, 16, 32, 64)


class Device:
    """Time passes only while it runs."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.ran: list[int] = []
        self._seconds = seconds

    def run(self, size: int) -> None:
        self.ran.append(size)
        self.now += self._seconds(size)

    def chosen(self) -> int:
        return smallest_fast_enough(self.measured())

    def beside(self) -> int:
        """The items of bulk work in a batch beside interactive traffic."""
        return hardly_longer(self.measured())

    def measured(self) -> dict[int, float]:
        return measure(SIZES, self.run, lambda: self.now)


def test_a_device_that_gains_nothing_from_company_runs_items_alone() -> None:
    assert Device(lambda size: 0.01 * size).chosen() == 1


def test_a_device_that_is_fast_from_a_size_on_gets_batches_of_that_size() -> None:
    assert Device(lambda size: 0.001 * max(size, 16)).chosen() == 16


def test_a_constant_cost_a_batch_asks_for_the_largest() -> None:
    assert Device(lambda size: 0.001).chosen() == 64


def test_a_slow_device_is_not_measured_for_long() -> None:
    device = Device(lambda size: 0.4 * size)
    assert device.chosen() == 1
    assert set(device.ran) == {1}


def test_a_device_too_slow_to_tell_gets_the_batches_that_are_worth_it_anywhere() -> None:
    spec = resolve("m=stub:dimension=8,per_item=0.4")
    found = budgets(family("stub").load(spec, "cpu", "auto", 1), spec)
    assert found[Modality.TEXT].cost == 512
    assert found[Modality.IMAGE] == Budget(4, 4, 1)


def test_a_machine_that_stutters_does_not_change_the_choice() -> None:
    stutter = cycle([3.0, 1.0, 2.0])
    assert Device(lambda size: 0.001 * max(size, 16) * next(stutter)).chosen() == 16


def test_bulk_work_beside_interactive_makes_batches_a_tenth_longer() -> None:
    assert Device(lambda size: 0.01 * size).beside() == 1
    assert Device(lambda size: 0.001).beside() == 63
    assert Device(lambda size: 0.001 * max(size, 20)).beside() == 18  # in proportion from 16 to 32
    assert Device(lambda size: 0.0095 + 0.0005 * size).beside() == 2


def test_a_size_that_the_device_has_no_memory_for_ends_the_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve("m=stub:dimension=8,max_tokens=77,oom_over=20")
    readings = count()
    # By this clock every batch takes as long.
    monkeypatch.setattr(measure, "__defaults__", (lambda: 0.02 * next(readings),))
    found = budgets(family("stub").load(spec, "cpu", "auto", 1), spec)
    assert found[Modality.TEXT].cost == 512  # 20 of 16 tokens would be less
    assert found[Modality.IMAGE].items == 16


@pytest.mark.parametrize(("tokens", "images"), [(500, 3), (1, 1)])
def test_what_the_operator_set_is_kept_but_two_longest_texts_always_fit(tokens: int, images: int) -> None:
    spec = resolve("m=stub:dimension=8,max_tokens=77")
    encoder = family("stub").load(spec, "cpu", "auto", 1)
    found = budgets(encoder, spec, tokens=tokens, images=images)
    assert found[Modality.TEXT].cost == max(tokens, 154)
    assert found[Modality.IMAGE].items == images
