"""Inputs that change while they are read: no row is ever taken for another one."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from altclip.bulk.sources.files import find
from altclip.bulk.sources.opening import open_source
from altclip.bulk.sources.source import Source
from altclip.datasets.items import DataError
from tests.altclip.bulk.test_images import png, tar

FORMS = ["jsonl", "jsonl.gz", "csv", "parquet", "tar"]


def write(path: Path, numbers: Iterable[int]) -> None:
    """A file with a row for each number; its form is the one of its name."""
    lines = "".join(f'{{"key": "{n}"}}\n' if ".jsonl" in path.name else f"{n}\n" for n in numbers)
    if path.name.endswith("parquet"):
        pq.write_table(pa.table({"key": [str(n) for n in numbers]}), path)
    elif path.name.endswith("tar"):
        path.write_bytes(tar({f"{n}.png": png(n) for n in numbers}))
    elif path.name.endswith("csv"):
        path.write_text(f"key\n{lines}")
    else:
        path.write_bytes(gzip.compress(lines.encode()) if path.name.endswith("gz") else lines.encode())


def opened(folder: Path, form: str) -> Source:
    """Two files of five rows."""
    write(folder / f"a.{form}", range(5))
    write(folder / f"b.{form}", range(5, 10))
    return open_source(find(str(folder)), ())


def numbers(source: Source, first: int) -> list[int]:
    return [int(key) for batch in source.batches(first) for key in batch.column("key").to_pylist()]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_lost_rows_is_named(form: str, tmp_path: Path) -> None:
    source = opened(tmp_path, form)
    write(tmp_path / f"a.{form}", range(3))
    for first in (0, 2):
        with pytest.raises(DataError, match=rf"a\.{form}: has other rows than before"):
            numbers(source, first)
    assert numbers(source, 6) == [6, 7, 8, 9]


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_a_file_got_meanwhile_move_no_others(form: str, tmp_path: Path) -> None:
    source = opened(tmp_path, form)
    write(tmp_path / f"a.{form}", [*range(5), 98, 99])
    if form in ("parquet", "tar"):  # which are never added to: it is another file
        with pytest.raises(DataError, match=rf"a\.{form}: has other rows than before"):
            numbers(source, 0)
        return
    write(tmp_path / f"b.{form}", [*range(5, 10), 99])
    for first in (0, 2, 5, 9):
        assert numbers(source, first) == list(range(first, 10))
