"""Tables that are text can be read from any row on: the same batches, and not the whole file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from altclip.bulk.sources import lines
from altclip.bulk.sources.files import find
from altclip.bulk.sources.lines import LinesSource
from altclip.bulk.sources.source import BATCH_ROWS
from altclip.datasets.items import DataError
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import errors, json_lines, parts

ROWS = 3 * BATCH_ROWS + 7


def content(kind: str) -> bytes:
    """With blank lines, line ends and delimiters in cells, and characters of several bytes."""
    cells = [(str(n), f'气球 {n}\n"quoted", and\tmore' if n % 5 == 0 else f"text {n}") for n in range(ROWS)]
    if kind == "jsonl":
        lines = [json.dumps({"n": a, "text": b}, ensure_ascii=False) for a, b in cells]
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = [f"n{mark}text", *(f'{a}{mark}"{b.replace(chr(34), chr(34) * 2)}"' for a, b in cells)]
    lines = [f"{line}\n" if n % 7 else f"{line}\n\n" for n, line in enumerate(lines)]
    return ("\ufeff" + "".join(lines)).encode()


def source(folder: Path, kind: str, *, compressed: bool = False, files: int = 2) -> LinesSource:
    for number in range(files):
        path = folder / f"{number}.{kind}{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content(kind)) if compressed else content(kind))
    return LinesSource(find(str(folder)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_batches_from_any_row_are_those_of_the_whole(kind: str, compressed: bool, tmp_path: Path) -> None:
    found = source(tmp_path, kind, compressed=compressed)
    assert found.rows == 2 * ROWS
    whole = [row for batch in found.batches(0) for row in batch.to_pylist()]
    assert [row["n"] for row in whole] == [str(n) for n in range(ROWS)] * 2
    edges = (0, BATCH_ROWS, 2 * BATCH_ROWS + 5, ROWS, ROWS + BATCH_ROWS)
    for first in sorted({max(0, edge + by) for edge in edges for by in (-1, 0, 1)}):
        batches = list(found.batches(first))
        assert [row for batch in batches for row in batch.to_pylist()] == whole[first:], first
        assert all(len(batch) <= BATCH_ROWS for batch in batches)
    assert list(found.batches(2 * ROWS)) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_comes_before_is_not_read_again(kind: str, tmp_path: Path) -> None:
    found = source(tmp_path, kind, files=1)
    whole = [row for batch in found.batches(0) for row in batch.to_pylist()]
    path = tmp_path / f"0.{kind}"
    damaged = bytearray(path.read_bytes())
    damaged[:100] = b"\xff" * 100
    path.write_bytes(damaged)
    first = BATCH_ROWS + 3
    assert [row for batch in found.batches(first) for row in batch.to_pylist()] == whole[first:]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_line_that_is_too_long_is_a_row_that_cannot_be_read(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 16)
    rows = [{"n": n, "text": "a" * (3 << 20 if n in {0, BATCH_ROWS} else 10)} for n in range(BATCH_ROWS + 5)]
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    for number in range(2):
        path = tmp_path / f"{number}.jsonl{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)
    found = LinesSource(find(str(tmp_path)))
    assert found.rows == 2 * len(rows)
    assert sorted(found.unreadable) == [0, BATCH_ROWS, len(rows), len(rows) + BATCH_ROWS]
    assert " line 1025: longer than " in found.unreadable[len(rows) + BATCH_ROWS]
    wanted = [None if n in {0, BATCH_ROWS} else n for n in range(len(rows))] * 2
    for first in (0, 1, BATCH_ROWS, BATCH_ROWS + 1, len(rows)):
        numbers = [row["n"] for batch in found.batches(first) for row in batch.to_pylist()]
        assert numbers == wanted[first:]


def test_it_fails_in_every_column_and_again_when_it_is_tried_again(
    bulk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 16)
    rows = [{"a": "a" * (1 << 17 if n == 2 else 3), "b": "b"} for n in range(5)]
    path, out = json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out"
    columns = ("--text", "a", "--text", "b")
    assert bulk(path, out, *columns, "--dry-run").status == 0
    for more in ((), ("--retry-failed",)):
        ran = bulk(path, out, *columns, *more)
        assert (ran.status, ran.last["embedded"], ran.last["errors"]) == (1, 4, 1)
        assert [(row["row"], row["column"], row["reason"]) for row in errors(out)] == [
            (2, "a", "UNREADABLE_INPUT"),
            (2, "b", "UNREADABLE_INPUT"),
        ]
    assert parts(out).column("row").to_pylist() == [0, 1, 3, 4]
    assert bulk("verify", out).status == 0


def test_a_file_with_no_other_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 16)
    path = json_lines(tmp_path / "in.jsonl", [{"text": "a" * (1 << 17)}])
    with pytest.raises(DataError, match="line 1: longer than"):
        LinesSource(find(str(path)))
