"""A column of JSON lines has a type that holds every value of every batch as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from altclip.bulk.sources.files import find
from altclip.bulk.sources.lines import LinesSource
from altclip.bulk.sources.source import BATCH_ROWS
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import json_lines, parts

LARGE = (1 << 53) + 1


def columns(path: Path, values: list[Any]) -> tuple[pa.DataType, list[Any]]:
    """The type of a column, and its values in the second reading; each value has a batch to itself."""
    rows = [{"v": value} for value in values for _ in range(BATCH_ROWS)]
    source = LinesSource(find(str(json_lines(path, rows))))
    batches = list(source.batches(0))
    assert len(batches) == len(values)
    return source.schema.field("v").type, [batch.column(0)[0].as_py() for batch in batches]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [LARGE, 0.5],
        [-LARGE, 3, 0.5],
        [3, 0.5, None, LARGE],
        [[1, LARGE], [], [0.5]],
        [{"id": 1, "n": [LARGE]}, {"id": 2, "n": [0.5]}],
        [{"a": {"b": LARGE}}, {"a": None}, {"a": {"b": 0.5, "c": "text"}}],
    ],
)
def test_integers_that_no_float_holds_are_kept_as_text_where_floats_are_far_from_them(
    tmp_path: Path, values: list[Any], reverse: bool
) -> None:
    values = values[::-1] if reverse else values
    kind, found = columns(tmp_path / "in.jsonl", values)
    assert kind == pa.string()
    assert [None if text is None else json.loads(text) for text in found] == values


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1 << 53, 0.5, -(1 << 53)], pa.float64()),
        ([LARGE, 3], pa.int64()),
        ([[1], [0.5]], pa.list_(pa.float64())),
        # A large one beside floats, but not among them.
        (
            [{"id": LARGE, "score": 1}, {"id": 2, "score": 0.5}],
            pa.struct([("id", pa.int64()), ("score", pa.float64())]),
        ),
    ],
)
def test_other_numbers_keep_a_type(tmp_path: Path, values: list[Any], wanted: pa.DataType) -> None:
    assert columns(tmp_path / "in.jsonl", values) == (wanted, values)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([0.5, True], pa.string()),
        ({"a": {"b": [0.5, None, True]}}, pa.string()),
        ({"a": [True], "b": 0.5}, pa.struct([("a", pa.list_(pa.bool_())), ("b", pa.float64())])),
    ],
)
def test_a_truth_among_floats_is_no_number(tmp_path: Path, value: Any, kind: pa.DataType) -> None:
    found, (stored,) = columns(tmp_path / "in.jsonl", [value])
    assert found == kind
    assert (json.loads(stored) if found == pa.string() else stored) == value
    assert "rue" in repr(stored)


def test_a_job_reaches_the_end_of_such_a_file(bulk: Run, tmp_path: Path) -> None:
    ids: list[float] = [LARGE, *range(2 * BATCH_ROWS), 0.5]
    rows = [{"id": number, "text": f"text {n}"} for n, number in enumerate(ids)]
    ran = bulk(json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out")
    assert (ran.status, ran.last["embedded"]) == (0, len(rows)), ran.told
    found = parts(tmp_path / "out").column("id").to_pylist()
    assert [json.loads(text) for text in found] == ids
