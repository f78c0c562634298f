"""Parquet files as a source. Row groups are read one after another, a few pages at a time; those before the
first wanted row are not read. Batches never span two of them, and are smaller where rows are large. A page,
and so a cell, can only be read whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from altclip.bulk.sources.files import Found
from altclip.bulk.sources.locations import Location, one_line, parquet_file, reading
from altclip.bulk.sources.source import BATCH_BYTES, BATCH_ROWS, NONE_UNREADABLE, changed
from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetSource:
    """See `Source`. Raises DataError for a damaged file, and for files whose columns differ."""

    hidden: frozenset[str] = frozenset()
    unreadable: Mapping[int, str] = NONE_UNREADABLE

    def __init__(self, found: Found) -> None:
        self.base = found.base
        self._files: list[tuple[Location, int]] = []
        for path in found.files:
            with _opened(path) as file:
                schema = file.schema_arrow.remove_metadata()
                self._files.append((path, file.metadata.num_rows))
            if len(self._files) == 1:
                self.schema: pa.Schema = schema
                _check_names(path, schema.names)
            elif not schema.equals(self.schema):
                raise DataError(f"{path}: {difference(self.schema, schema)} than in {found.files[0]}")
        self.rows = sum(rows for _, rows in self._files)

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """See `Source`."""
        import pyarrow as pa

        for path, rows in self._files:
            if first >= rows:
                first -= rows
                continue
            try:
                with reading(path), _opened(path) as file:
                    if file.metadata.num_rows != rows:
                        raise changed(path)
                    for group in range(file.metadata.num_row_groups):
                        told = file.metadata.row_group(group)
                        if first >= told.num_rows:
                            first -= told.num_rows
                            continue
                        size = rows_at_a_time(told.num_rows, told.total_byte_size)
                        for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                            kept = batch.slice(min(first, len(batch)))
                            first -= len(batch) - len(kept)
                            if len(kept):
                                yield pa.RecordBatch.from_arrays(kept.columns, schema=self.schema)
            except pa.ArrowException as error:
                raise DataError(f"{path}: {one_line(error)}") from None
            first = 0


def rows_at_a_time(rows: int, size: int) -> int:
    """How many rows of a row group are read in one batch. rows, size: its rows, and their bytes before they
    were compressed."""
    return min(BATCH_ROWS, max(1, BATCH_BYTES * rows // max(size, 1)))


def _opened(path: Location) -> pq.ParquetFile:
    import pyarrow as pa

    with reading(path):
        try:
            # Without pre_buffer and with a buffer only the pages that are needed are in memory.
            return parquet_file(path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a whole Parquet file ({one_line(error)})") from None


def _check_names(path: Location, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: several columns are called {twice[0]!r}")


def difference(wanted: pa.Schema, found: pa.Schema) -> str:
    """How the columns found differ from those wanted, to be followed by "than"; empty where they do not."""
    if found.equals(wanted):
        return ""
    for field in found:
        if field.name not in wanted.names:
            return f"a column {field.name!r} more"
        if not wanted.field(field.name).equals(field):
            return f"the column {field.name!r} is {field.type}, another type"
    missing = [name for name in wanted.names if name not in found.names]
    return f"no column {missing[0]!r}, other columns" if missing else "another order of columns"
