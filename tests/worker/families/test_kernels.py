"""How a way to multiply is chosen, with products that take a known time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle

import pytest

from worker.families.altclip.kernels import BUCKETS, MKL, ONEDNN, PACKED, TRIED, bucket, choose

Seconds = Callable[[int], float]


class Machine:
    """Time passes only while it multiplies."""

    def __init__(self, **ways: Seconds) -> None:
        """Of each way, the seconds that so many rows take it; `packed` stands for the packed one."""
        self.now = 0.0
        self.ran = 0
        names = {"mkl": MKL, "onednn": ONEDNN, "packed": PACKED}
        self._ways = {names[name]: seconds for name, seconds in ways.items()}

    def chosen(
        self, shapes: int = 1, seconds: float = 1e9, packed_pays: float = 0.9
    ) -> list[tuple[str, ...]]:
        trials = {f"{number}": self._runs() for number in range(shapes)}
        return [*choose(trials, packed_pays, lambda: self.now, seconds).values()]

    def _runs(self) -> Mapping[str, Callable[[int], object]]:
        def run(seconds: Seconds) -> Callable[[int], object]:
            def multiply(rows: int) -> None:
                self.ran += 1
                self.now += seconds(rows)

            return multiply

        return {name: run(seconds) for name, seconds in self._ways.items()}


def test_every_number_of_rows_is_in_the_bucket_that_begins_at_or_below_it() -> None:
    assert [bucket(start) for start in BUCKETS] == [*range(len(BUCKETS))]
    assert [bucket(start - 1) for start in BUCKETS[1:]] == [*range(len(BUCKETS) - 1)]
    assert [bucket(rows) for rows in TRIED] == [*range(len(BUCKETS))]
    assert bucket(1_000_000) == len(BUCKETS) - 1


def test_each_bucket_gets_the_way_that_is_fastest_there() -> None:
    machine = Machine(mkl=lambda rows: 10.0 if 1 < rows < 100 else 1.0, onednn=lambda rows: 2.0)
    assert machine.chosen() == [(MKL, ONEDNN, ONEDNN, ONEDNN, MKL, MKL)]


def test_a_way_that_is_hardly_faster_than_the_first_is_not_taken() -> None:
    assert Machine(mkl=lambda rows: 1.0, onednn=lambda rows: 0.96).chosen() == [(MKL,) * 6]
    assert Machine(mkl=lambda rows: 1.0, onednn=lambda rows: 0.94).chosen() == [(ONEDNN,) * 6]


@pytest.mark.parametrize(("part", "packs"), [(0.85, True), (0.95, False)])
def test_weights_are_packed_for_all_rows_or_none_by_what_it_saves_against_the_best_of_the_others(
    part: float, packs: bool
) -> None:
    machine = Machine(
        mkl=lambda rows: float(rows), onednn=lambda rows: rows / 2, packed=lambda rows: part * rows / 2
    )
    assert machine.chosen() == [((PACKED if packs else ONEDNN),) * 6]


def test_a_packed_way_that_loses_for_few_rows_what_it_gains_for_many_is_not_taken() -> None:
    machine = Machine(mkl=lambda rows: 1.0, packed=lambda rows: 3.0 if rows < 8 else 0.5)
    assert machine.chosen() == [(MKL,) * 6]


def test_a_machine_that_stutters_does_not_change_the_choice() -> None:
    stutter = cycle([3.0, 1.0, 1.0, 1.0])
    machine = Machine(mkl=lambda rows: 1.0 * next(stutter), onednn=lambda rows: 0.9 * next(stutter))
    assert machine.chosen() == [(ONEDNN,) * 6]


def test_measuring_ends_in_time_and_larger_products_are_computed_as_the_last_measured() -> None:
    machine = Machine(mkl=lambda rows: 0.1 * rows, onednn=lambda rows: 0.05 * rows)
    assert machine.chosen(shapes=2, seconds=6) == [(ONEDNN,) * 6] * 2
    # One bucket more than fits is begun at most: 6 rows of one shape take 2.7 s, 20 take 9.
    assert machine.now < 16
    unmeasured = Machine(mkl=lambda rows: 1.0, onednn=lambda rows: 0.1)
    assert unmeasured.chosen(seconds=0) == [(MKL,) * 6]
    assert unmeasured.ran == 0


def test_packed_weights_that_could_not_be_measured_are_not_taken() -> None:
    assert Machine(mkl=lambda rows: 1.0, packed=lambda rows: 0.1).chosen(seconds=0) == [(MKL,) * 6]
