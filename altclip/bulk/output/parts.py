"""Writes the parts of an output and their errors tables, and reads them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from altclip.bulk.blocks import Block, Earlier, Failure, Vectors
from altclip.bulk.columns import DTYPES, ROW, Embedded, Shape, added
from altclip.bulk.output.folder import ERRORS, HashedFile
from altclip.bulk.output.manifest import Part, part_name
from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow as pa

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
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        first: int,
        schema: pa.Schema,
        columns: Sequence[Embedded],
        shape: Shape,
        identity: str | None,
    ) -> None:
        self.number = number
        self._name = part_name(number)
        self._folder = folder
        self._first = first
        self._schema = schema
        self._columns = columns
        self._shape = shape
        self._identity = identity
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = self._rows = 0
        self._failures: list[tuple[Failure, str | None]] = []
        self._file = HashedFile(folder / self._name)
        try:
            self._writer = _writer(self._file, schema, columns)
        except BaseException:
            self._file.discard()
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
            new[field.name] if field.name in new else block.batch.column(field.name).filter(mask)
            for field in self._schema
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._rows += len(rows)
        self._waiting.append(batch)
        self._waiting_bytes += block.batch.nbytes
        if sum(map(len, self._waiting)) >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def commit(self) -> Part:
        """Makes both files durable, the errors table first. Raises OutputError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._flush()
        self._writer.close()
        errors = HashedFile(self._folder / ERRORS / self._name)
        try:
            rows = [
                {"row": it.row, "id": key, "column": it.column, "reason": it.reason, "message": it.message}
                for it, key in self._failures
            ]
            pq.write_table(pa.Table.from_pylist(rows, schema=errors_schema()), errors)
            errors_bytes, errors_sha256 = errors.commit()
        except BaseException:
            errors.discard()
            raise
        size, digest = self._file.commit()
        failed = len({each.row for each, _ in self._failures})
        return Part(self._name, self._first, self._rows, size, digest, failed, errors_bytes, errors_sha256)

    def discard(self) -> None:
        """Nothing of it is kept."""
        self._file.discard()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            if len(table):
                self._writer.write_table(table, row_group_size=max(len(table), 1))

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
            codes = vectors.codes[rows]
            flat = pa.array(codes.reshape(-1))
            kind = self._schema.field(name).type
            if self._shape.fixed:
                arrays[name] = pa.FixedSizeListArray.from_arrays(flat, type=kind)
            else:
                offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(self._shape.width)
                arrays[name] = pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)
            arrays[f"{column.name}_scale"] = pa.array(vectors.scales[rows])
            arrays[f"{column.name}_tokens"] = pa.array(vectors.tokens[rows])
            arrays[f"{column.name}_truncated"] = pa.array(vectors.truncated[rows])
        return {name: array for name, array in arrays.items() if name in self._schema.names}


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    found = pq.ParquetFile(sink.getvalue()).schema
    return [found.column(n).path for n in range(len(found))]


def read_earlier(
    folder: Path, part: Part, columns: Sequence[Embedded], shape: Shape, *, retry: bool
) -> Earlier:
    """What is known of the rows of a part that is whole; with `retry` not of those that failed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / part.name, columns=[ROW, *_own_columns(folder / part.name, columns)])
        errors = pq.read_table(folder / ERRORS / part.name).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{folder / part.name}: {error}") from None
    vectors = []
    for column in columns:
        found = Vectors(len(table), shape)
        found.codes = codes_of(table.column(f"{column.name}_embedding"), shape)
        for name, attribute in (("scale", "scales"), ("tokens", "tokens"), ("truncated", "truncated")):
            if f"{column.name}_{name}" in table.column_names:
                setattr(found, attribute, table.column(f"{column.name}_{name}").to_numpy())
        vectors.append(found)
    failures: dict[int, list[Failure]] = {}
    for each in errors if not retry else []:
        failure = Failure(each["row"], each["column"], each["reason"], each["message"])
        failures.setdefault(each["row"], []).append(failure)
    return Earlier(table.column(ROW).to_numpy(), vectors, failures)


def codes_of(column: pa.ChunkedArray | pa.Array, shape: Shape) -> npt.NDArray[Any]:
    """The vectors of a column of a part: [rows, width] in the encoding's type. Raises DataError where one has
    another length."""
    chunks = getattr(column, "chunks", [column])
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    codes = np.concatenate(flat) if flat else np.zeros(0)
    if len(codes) != len(column) * shape.width:
        raise DataError(f"{len(codes)} numbers in {len(column)} vectors of {shape.width}")
    return codes.astype(DTYPES[shape.encoding], copy=False).reshape(len(column), shape.width)


def _own_columns(path: Path, columns: Sequence[Embedded]) -> list[str]:
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    return [name for column in columns for name in added(column) if name in names]
