"""Parquet with large cells is read in small batches."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from altclip.bulk.sources.files import find
from altclip.bulk.sources.source import BATCH_BYTES, BATCH_ROWS
from altclip.bulk.sources.tables import ParquetSource, rows_at_a_time


@pytest.mark.parametrize(
    ("rows", "size", "wanted"),
    [
        (1000, 10_000, BATCH_ROWS),
        (10, 10 * BATCH_BYTES, 1),
        (200, 200 * (BATCH_BYTES // 8), 8),
        (1, 3 * BATCH_BYTES, 1),
        (0, 0, 1),
    ],
)
def test_a_batch_has_as_many_rows_as_fit(rows: int, size: int, wanted: int) -> None:
    assert rows_at_a_time(rows, size) == wanted


def test_large_images_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    size = BATCH_BYTES // 8
    images = [os.urandom(size) for _ in range(20)]
    pq.write_table(pa.table({"image": images}), tmp_path / "in.parquet", compression="none")
    found = ParquetSource(find(str(tmp_path / "in.parquet")))
    for first in (0, 9):
        batches = list(found.batches(first))
        assert max(map(len, batches)) <= 8
        assert [cell for batch in batches for cell in batch.column("image").to_pylist()] == images[first:]
