"""Measuring in turn: who is measured when, and when it goes on for a verdict's sake."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import Row, ratios
from benchmarks.rounds import another_round, measured

CLEAR = Row("a", "b", [1.1] * 5, bar=1.0)
UNCLEAR = Row("a", "b", [1.1, 1.1, 1.1, 0.9, 0.9], bar=1.0)


def test_measures_take_turns() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    def made(a: Sequence[float], b: Sequence[float]) -> list[Row]:
        return [Row("b", "a", ratios(b, a))]

    (row,) = measured(made, lambda: measure("a"), lambda: measure("b"), rounds=2)
    assert turns == ["a", "b", "a", "b"]
    assert row.ratios == [2.0, 4 / 3]


def test_an_undecided_row_is_taken_longer_until_it_is_decided() -> None:
    values = iter([0.9, *[1.1] * 20])
    (row,) = measured(lambda taken: [Row("a", "b", list(taken), bar=1.0)], lambda: next(values), rounds=5)
    assert (len(row.ratios), row.verdict) == (6, "holds")


def test_a_row_that_stays_undecided_says_so_after_three_times_the_rounds() -> None:
    values = iter([0.9, 1.1] * 20)
    (row,) = measured(lambda taken: [Row("a", "b", list(taken), bar=1.0)], lambda: next(values), rounds=3)
    assert (len(row.ratios), row.verdict) == (9, "undecided")


def test_rows_tell_what_others_had_of_the_machine_meanwhile() -> None:
    (row,) = measured(lambda taken: [Row("a", "b", list(taken))], lambda: 1.0, rounds=1)
    assert row.others is not None
    assert row.stolen is not None
    assert 0 <= row.others <= 1
    assert 0 <= row.stolen <= 1


def test_there_is_another_round_only_for_what_is_undecided_and_while_there_is_room() -> None:
    assert another_round([CLEAR, UNCLEAR], done=5, rounds=5, seconds=60)
    assert not another_round([CLEAR], done=5, rounds=5, seconds=60)
    assert not another_round([UNCLEAR], done=15, rounds=5, seconds=60)
    assert not another_round([UNCLEAR], done=5, rounds=5, seconds=3600)
    assert not another_round([Row("a", "b", [0.9, 1.1])], done=2, rounds=2, seconds=0), "no bar, no verdict"
