"""Tables that are text can be read from any row on: the same batches, and not the whole file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from altclip.bulk.sources.files import find
from altclip.bulk.sources.lines import LinesSource
from altclip.bulk.sources.source import BATCH_ROWS

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
