"""The report of the benchmarks: verdicts, and parts that are taken apart from each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine.padding import packed_waste, waste
from benchmarks.load import Answer, Load, work_rate
from benchmarks.pictures import draw
from benchmarks.report import Found, Row, best_peer, read_part, table, write_part


def test_the_median_decides() -> None:
    assert Row("a", "b", [0.5, 1.0, 3.0], bar=1.0).verdict == "holds"
    assert Row("a", "b", [0.5, 0.9, 3.0], bar=1.0).verdict == "misses"
    assert Row("a", "b", [0.5, 1.0, 3.0], bar=1.0, at_most=True).verdict == "holds"


def test_the_worst_decides_where_that_is_the_claim() -> None:
    assert Row("a", "b", [1.0, 1.0, 1.2], bar=1.05, at_most=True, worst=True).verdict == "misses"
    assert Row("a", "b", [1.0, 1.0, 1.2], bar=1.05, at_most=True).verdict == "holds"


def test_a_figure_without_a_bar_has_no_verdict() -> None:
    assert Row("a", "b", [1.0]).verdict == ""
    assert "| a | b | 1.00 (1.00 – 1.00) |" in table([Row("a", "b", [1.0])])


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = Found([Row("a", "b", [1.0, 2.0], bar=1.5, facts={"calls/s": 3.0})], {"c": "no c here"})
    write_part(tmp_path / "part.json", found)
    assert read_part(tmp_path / "part.json") == found


def test_a_part_of_another_machine_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    write_part(path, Found())
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": {"processor": "another"}}))
    assert read_part(path) is None
    assert read_part(tmp_path / "none.json") is None


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
    rows = [Row("texts/s", "slow", [4.0]), Row("texts/s", "fast", [1.9]), Row("p99", "slow", [0.2])]
    texts, p99 = best_peer(rows)
    assert texts.against == "the best of 2 other servers: fast"
    assert (texts.verdict, p99.verdict) == ("misses", "holds")


def test_packed_texts_hold_no_padding() -> None:
    assert packed_waste([3, 9, 40, 7], 2) == 0
    assert waste([3, 9, 40, 7], 2) == pytest.approx(1 - 59 / 98)


def test_a_picture_is_drawn_of_what_was_measured_only(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (picture,) = draw([Row("padding, 8 texts a batch, packed", "all", [0.0])], tmp_path)
    assert picture.name == "padding-waste.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
