"""The report of the benchmarks: verdicts, and the best of several servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine.padding import packed_waste, waste
from benchmarks.load import Answer, Load, work_rate
from benchmarks.pictures import draw
from benchmarks.report import Row, best_peer, table


def test_ratios_that_agree_decide() -> None:
    assert Row("a", "b", [1.0, 1.1, 3.0], bar=1.0).verdict == "holds"
    assert Row("a", "b", [0.5, 0.9, 0.9], bar=1.0).verdict == "misses"
    assert Row("a", "b", [0.5, 1.0, 0.9], bar=1.0, at_most=True).verdict == "holds"


def test_a_row_whose_ratios_lie_on_both_sides_of_the_bar_is_undecided() -> None:
    assert Row("a", "b", [0.5, 1.0, 3.0], bar=1.0).verdict == "undecided"
    assert Row("a", "b", [0.9, 1.1, 1.1, 1.2, 1.2], bar=1.0).verdict == "undecided"
    assert Row("a", "b", [0.9, 1.1, 1.1, 1.2, 1.2], bar=1.0, at_most=True).verdict == "undecided"


@pytest.mark.parametrize(("bad", "of"), [(0, 3), (0, 5), (1, 6), (2, 9), (4, 15)])
def test_the_more_ratios_there_are_the_more_may_lie_on_the_other_side(bad: int, of: int) -> None:
    assert Row("a", "b", [0.9] * bad + [1.1] * (of - bad), bar=1.0).verdict == "holds"
    assert Row("a", "b", [1.1] * bad + [0.9] * (of - bad), bar=1.0).verdict == "misses"
    assert Row("a", "b", [0.9] * (bad + 1) + [1.1] * (of - bad - 1), bar=1.0).verdict == "undecided"


def test_one_or_two_ratios_decide_nothing() -> None:
    assert Row("a", "b", [2.0], bar=1.0).verdict == "undecided"
    assert Row("a", "b", [2.0, 2.0], bar=1.0).verdict == "undecided"


def test_the_worst_decides_where_that_is_the_claim() -> None:
    ratios = [*[1.0] * 5, 1.2]
    assert Row("a", "b", ratios, bar=1.05, at_most=True, worst=True).verdict == "misses"
    assert Row("a", "b", ratios, bar=1.05, at_most=True).verdict == "holds"


def test_a_figure_without_a_bar_has_no_verdict() -> None:
    assert Row("a", "b", [1.0]).verdict == ""
    assert "| a | b | 1.00 (1.00 – 1.00) |" in table([Row("a", "b", [1.0])])


def test_each_row_tells_what_others_had_of_the_machine() -> None:
    assert table([Row("a", "b", [1.0], others=0.031, stolen=0.2)]).endswith("|  | 3%, 20% stolen |")
    assert table([Row("a", "b", [1.0], others=0.031, stolen=0.001)]).endswith("|  | 3% |")
    assert table([Row("a", "b", [1.0])]).endswith("|  |  |")


def test_a_rate_is_taken_between_the_ends_of_full_batches() -> None:
    ends = [0.1, *[1.1] * 10, *[2.1] * 10, *[3.1] * 10, *[3.3] * 2]
    load = Load([Answer(number, 0.0, end) for number, end in enumerate(ends)], 3.3)
    assert work_rate(load, lambda item: 2.0) == pytest.approx(20.0)


def test_too_few_batches_give_no_rate() -> None:
    with pytest.raises(ValueError, match="too few"):
        work_rate(Load([Answer(0, 0.0, 1.0), Answer(1, 0.0, 2.0)], 2.0), lambda item: 1.0)


def test_goodput_counts_right_answers_in_time() -> None:
    load = Load([Answer(0, 0.0, 0.1), Answer(1, 0.0, 0.3), Answer(2, 0.0, 0.1, failed=True)], 1.0)
    assert (load.rate, load.goodput(0.2)) == (2.0, 1.0)
    assert load.latency(1.0) == pytest.approx(0.3)


def test_the_best_of_the_others_is_the_one_we_beat_by_least() -> None:
    texts, p99 = best_peer(
        [
            Row("texts/s", "slow", [4.0] * 3, bar=2.0),
            Row("texts/s", "fast", [1.9] * 3, bar=2.0),
            Row("p99", "slow", [0.2] * 3, bar=0.5, at_most=True),
            Row("p99", "fast", [0.4] * 3, bar=0.5, at_most=True),
        ]
    )
    assert texts.against == p99.against == "the best of 2 other servers: fast"
    assert (texts.verdict, p99.verdict) == ("misses", "holds")


def test_packed_texts_hold_no_padding() -> None:
    assert packed_waste([3, 9, 40, 7], 2) == 0
    assert waste([3, 9, 40, 7], 2) == pytest.approx(1 - 59 / 98)


def test_a_picture_is_drawn_of_what_was_measured_only(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (picture,) = draw([Row("padding, 8 texts a batch, packed", "all", [0.0])], tmp_path)
    assert picture.name == "padding-waste.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
