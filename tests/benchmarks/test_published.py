"""The tables of docs/benchmarks.md: a set of rows for each kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.published import PAGE, Kind, page, publish, read_kinds
from benchmarks.report import Row

EPYC = {"processor": "AMD EPYC", "instructions": "avx2", "cores": "2", "python": "3.11.7"}
XEON = {**EPYC, "processor": "Xeon"}
EMPTY = (
    "a\n\n<!-- rows with a bar -->\n\n<!-- end of rows with a bar -->\n\n"
    "b\n\n<!-- rows without a bar -->\n\n<!-- end of rows without a bar -->\n\nc\n"
)


def test_the_page_shows_what_was_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, read_kinds()) == text, "run make docs"


def test_each_kind_of_machine_has_tables_of_its_own() -> None:
    kinds = [
        Kind(EPYC, [Row("x", "y", [2.0] * 3, bar=1.0), Row("z", "y", [3.0])]),
        Kind(XEON, [Row("x", "y", [0.5] * 3, bar=1.0)]),
    ]
    text = page(EMPTY, kinds)
    with_bar, without = text.split("\nb\n")
    assert with_bar.index("### AMD EPYC, 2 cores, avx2") < with_bar.index("| x | y | 2.00")
    assert with_bar.index("### Xeon, 2 cores, avx2") < with_bar.index("| x | y | 0.50")
    assert "| z | y | 3.00" in without
    assert "Xeon" not in without
    assert page(text, kinds) == text


def test_a_page_without_a_place_for_the_tables_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for rows with a bar"):
        page("nothing here", [])


def test_rows_that_are_taken_again_replace_their_own_and_no_others(tmp_path: Path) -> None:
    publish(Kind(EPYC, [Row("x", "y", [1.0]), Row("z", "y", [1.0], bar=0.5, facts={"a": 1.23456})]), tmp_path)
    publish(Kind(XEON, [Row("x", "y", [7.0])]), tmp_path)
    publish(Kind({**EPYC, "python": "3.12.1"}, [Row("x", "y", [2.0], others=0.01234)]), tmp_path)
    epyc, xeon = read_kinds(tmp_path)
    assert epyc.rows == [
        Row("x", "y", [2.0], others=0.012),
        Row("z", "y", [1.0], bar=0.5, facts={"a": 1.235}),
    ]
    assert xeon.rows == [Row("x", "y", [7.0])]
