"""Writes the parts of an output and their errors tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from altclip.bulk.blocks import Block, Failure
from altclip.bulk.columns import DTYPES, ROW, Embedded, Shape
from altclip.bulk.output.files import ArrayFile, HashedFile
from altclip.bulk.output.layout import Layout, errors_name
from altclip.bulk.output.manifest import Part
from altclip.bulk.sources.locations import Location

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_ROWS, GROUP_BYTES = 10_000, 64 << 20
"""A row group is written when it holds so much."""


def errors_schema() -> pa.Schema:
    """The columns of an errors table."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string()),
            pa.field("column", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("message", pa.string(), nullable=False),
        ]
    )


class PartWriter:
    """One part under way: its blocks come in order, then `commit` or `discard`.

    Args:
        folder: The output.
        number: The part's.
        first: The first row of the input that belongs to it.
        schema: Of the parts.
        columns, shape: The embedded columns, and their vectors.
        identity: The column with the keys of the errors table.
        layout: Which files there are.
    """

    def __init__(
        self,
        folder: Location,
        number: int,
        first: int,
        schema: pa.Schema,
        columns: Sequence[Embedded],
        shape: Shape,
        identity: str | None,
        layout: Layout = Layout(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self.number = number
        self._name = layout.main(number)
        self._folder = folder
        self._first = first
        self._schema = schema
        self._columns = columns
        self._shape = shape
        self._identity = identity
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = self._rows = 0
        self._failures: list[tuple[Failure, str | None]] = []
        self._arrays: list[ArrayFile] = []
        self._file = HashedFile(folder, self._name)
        try:
            for name in layout.arrays:
                kind = DTYPES[shape.encoding]
                self._arrays.append(ArrayFile(folder, layout.array(name, number), shape.width, kind))
            self._writer = _writer(self._file, schema, columns)
        except BaseException:
            self.discard()
            raise

    def add(self, block: Block) -> None:
        """The next rows: those with all vectors are written, the others go to the errors table."""
        import pyarrow as pa

        failed = sorted(block.failures, key=lambda each: (each.row, each.column))
        keys = self._keys(block)
        self._failures += [(each, keys[each.row - block.first] if keys else None) for each in failed]
        kept = np.ones(len(block), np.bool_)
        kept[[each.row - block.first for each in failed]] = False
        rows = np.flatnonzero(kept)
        new = self._added(block, rows)
        mask = pa.array(kept)
        arrays = [
            new[field.name] if field.name in new else _filtered(block.batch.column(field.name), mask)
            for field in self._schema
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        for array, vectors in zip(self._arrays, block.vectors, strict=False):  # none but with npy
            array.append(vectors.codes[rows])
        self._rows += len(rows)
        self._waiting.append(batch)
        self._waiting_bytes += block.batch.nbytes
        if sum(map(len, self._waiting)) >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def commit(self) -> Part:
        """Makes all files durable, the errors table first. Raises OutputError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._flush()
        self._writer.close()
        errors = HashedFile(self._folder, errors_name(self._name))
        try:
            rows = [
                {"row": it.row, "id": key, "column": it.column, "reason": it.reason, "message": it.message}
                for it, key in self._failures
            ]
            pq.write_table(pa.Table.from_pylist(rows, schema=errors_schema()), errors)
            told = errors.commit()
        except BaseException:
            errors.discard()
            raise
        arrays = tuple(array.commit() for array in self._arrays)
        file = self._file.commit()
        failed = len({each.row for each, _ in self._failures})
        return Part(
            self._name,
            self._first,
            self._rows,
            file.bytes,
            file.sha256,
            failed,
            told.bytes,
            told.sha256,
            arrays,
        )

    def discard(self) -> None:
        """Nothing of it is kept."""
        self._file.discard()
        for array in self._arrays:
            array.discard()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            if len(table):
                self._writer.write_table(table, row_group_size=max(len(table), 1))
            del table
            pa.default_memory_pool().release_unused()  # what is kept for later grows with the hours

    def _keys(self, block: Block) -> list[str | None]:
        """The keys of the rows, read only where a row failed."""
        if self._identity is None or not block.failures:
            return []
        values = block.batch.column(self._identity).to_pylist()
        return [None if value is None else str(value) for value in values]

    def _added(self, block: Block, rows: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
        import pyarrow as pa

        arrays: dict[str, pa.Array] = {ROW: pa.array(rows + block.first, pa.int64())}
        for column, vectors in zip(self._columns, block.vectors, strict=True):
            name = f"{column.name}_embedding"
            if name in self._schema.names:
                arrays[name] = self._lists(vectors.codes[rows], self._schema.field(name).type)
            arrays[f"{column.name}_scale"] = pa.array(vectors.scales[rows])
            arrays[f"{column.name}_tokens"] = pa.array(vectors.tokens[rows])
            arrays[f"{column.name}_truncated"] = pa.array(vectors.truncated[rows])
        return {name: array for name, array in arrays.items() if name in self._schema.names}

    def _lists(self, codes: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
        import pyarrow as pa

        flat = pa.array(codes.reshape(-1))
        if self._shape.fixed:
            return pa.FixedSizeListArray.from_arrays(flat, type=kind)
        offsets = np.arange(len(codes) + 1, dtype=np.int32) * np.int32(self._shape.width)
        return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)


def _filtered(column: pa.Array, mask: pa.Array) -> pa.Array:
    """The cells where the mask is true."""
    import pyarrow as pa

    try:
        return column.filter(mask)
    except pa.ArrowNotImplementedError:  # of string_view and binary_view
        rows = np.flatnonzero(mask)
        return pa.concat_arrays([column.slice(0, 0), *(column.slice(int(row), 1) for row in rows)])


def _writer(file: HashedFile, schema: pa.Schema, columns: Sequence[Embedded]) -> Any:
    """A Parquet writer: vectors are not compressed, for they hardly become smaller."""
    import pyarrow.parquet as pq

    vectors = {f"{column.name}_embedding" for column in columns}
    paths = _leaves(schema)
    plain = [path for path in paths if path.split(".")[0] in vectors]
    return pq.ParquetWriter(
        file,
        schema,
        compression={path: "NONE" if path in plain else "ZSTD" for path in paths},
        use_dictionary=[path for path in paths if path not in plain],
        write_statistics=[path for path in paths if path not in plain],
    )


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of the columns as Parquet counts them."""
    found = _without_rows(schema).schema
    return [found.column(n).path for n in range(len(found))]


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema as a part has it when it is read again: Parquet lacks some of Arrow's types."""
    return _without_rows(schema).schema_arrow


def _without_rows(schema: pa.Schema) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    return pq.ParquetFile(sink.getvalue())
