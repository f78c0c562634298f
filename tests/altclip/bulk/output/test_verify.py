"""`altclip bulk verify` looks into the parts: here each file is what the manifest says, and wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from altclip.bulk.output.folder import MANIFEST
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import json_lines, manifest, texts

Change = Callable[[pa.Table], pa.Table]
NAME = "part-00001.parquet"


def spoil(output: Path, change: Change, **said: Any) -> None:
    """Rewrites a part, and what the manifest says of its file."""
    path = output / NAME
    pq.write_table(change(pq.read_table(path)), path)
    content = path.read_bytes()
    found = manifest(output)
    for part in found["parts"]:
        if part["name"] == NAME:
            part |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} | said
    (output / MANIFEST).write_text(json.dumps(found))


def with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    index = table.schema.get_field_index(name)
    field = table.schema.field(name)
    return table.set_column(index, field, column.cast(field.type))


def vectors(change: Callable[[np.ndarray[Any, np.dtype[np.float32]]], object]) -> Change:
    def changed(table: pa.Table) -> pa.Table:
        rows = np.array(table.column("text_embedding").to_pylist(), np.float32)
        change(rows)
        width = rows.shape[1]
        flat = pa.array(rows.reshape(-1))
        kind = table.schema.field("text_embedding").type
        lists = pa.FixedSizeListArray.from_arrays(flat, type=kind)
        assert width == kind.list_size
        return with_column(table, "text_embedding", lists)

    return changed


def row(number: int, value: int) -> Change:
    def changed(table: pa.Table) -> pa.Table:
        rows = table.column("row").to_pylist()
        rows[number] = value
        return with_column(table, "row", pa.array(rows, pa.int64()))

    return changed


def longer(rows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    rows[2:5] *= 2


def endless(rows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    rows[3, 0], rows[4, 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (vectors(longer), "3 vectors of text are not of length 1"),
        (vectors(endless), "2 vectors of text are not finite"),
        (row(3, 12), "rows stand twice, or out of order"),
        (row(9, 25), "rows of another part"),
        (lambda table: table.slice(0, 9), "9 rows instead of 10"),
        (lambda table: table.drop_columns("text_embedding"), "text_embedding"),
        (
            lambda table: table.replace_schema_metadata(
                {"altclip.model": "stub", "altclip.revision": "other"}
            ),
            "of the revision other, not ",
        ),
    ],
)
def test_a_part_that_is_wrong_is_told(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, told: str
) -> None:
    from altclip.cli import main

    out = tmp_path / "out"
    bulk(json_lines(tmp_path / "in.jsonl", texts(30)), out, "--rows-per-shard", 10)
    assert bulk("verify", out).status == 0
    spoil(out, change)
    assert main(["bulk", "verify", str(out)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{NAME}: ") and told in line for line in shown), shown


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda table: table.set_column(0, "n", table.column("n").cast(pa.float64())),
            "the column 'n' is double, another type than in part-00000.parquet",
        ),
        (lambda table: table.append_column("more", pa.nulls(10)), "a column 'more' more than in part-00000"),
        (lambda table: table.drop_columns("n"), "no column 'n', other columns than in part-00000.parquet"),
    ],
)
def test_parts_of_different_columns_are_told(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, told: str
) -> None:
    from altclip.cli import main

    out = tmp_path / "out"
    bulk(json_lines(tmp_path / "in.jsonl", texts(30)), out, "--rows-per-shard", 10)
    spoil(out, change)
    assert main(["bulk", "verify", str(out)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("part-")] == [line for line in shown if told in line]
    assert sum(told in line for line in shown) == 1, shown


def test_books_that_do_not_balance_are_told(bulk: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(json_lines(tmp_path / "in.jsonl", texts(30)), out, "--rows-per-shard", 10)
    found = manifest(out)
    found["parts"].pop()
    (out / MANIFEST).write_text(json.dumps(found))
    ran = bulk("verify", out)
    # The part is missing, the books do not balance, and its two files belong to nobody.
    assert (ran.status, ran.last["faults"]) == (1, 4)
