"""Reads the parts of an output again, in either format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from altclip.bulk.blocks import Earlier, Failure, Vectors
from altclip.bulk.columns import DTYPES, ROW, Shape, added
from altclip.bulk.output.layout import NPY, columns_of
from altclip.bulk.output.manifest import Manifest, Part
from altclip.bulk.sources.locations import Location, parquet_file, reading
from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Codes = npt.NDArray[Any]


def shape_of(manifest: Manifest) -> Shape:
    """What the vectors are like."""
    return Shape(manifest.encoding, manifest.dimension, manifest.options["vector_type"] == "fixed")


def errors_of(output: Location, part: Part) -> pa.Table:
    """The errors table of a part. Raises DataError."""
    with reading(output / part.files[-1].name), parquet_file(output / part.files[-1].name) as file:
        return file.read()


def vectors_of(output: Location, manifest: Manifest, part: Part, column: str, rows: int) -> Iterator[Codes]:
    """The stored vectors of a column of a part, in blocks [rows or fewer, width] of the encoding's type.
    Raises DataError where one has another width."""
    shape = shape_of(manifest)
    if manifest.layout.form == NPY:
        names = [each.name for each in columns_of(manifest.options)]
        codes = _array(output / part.arrays[names.index(column)].name)
        if codes.shape != (part.rows, shape.width) or codes.dtype != DTYPES[shape.encoding]:
            raise DataError(
                f"{column}: {codes.dtype}{codes.shape} instead of {part.rows} rows of {shape.width}"
            )
        for start in range(0, part.rows, rows):
            yield np.asarray(codes[start : start + rows])
        return
    for batch in cells_of(output, part, [f"{column}_embedding"], rows):
        yield codes_of(batch.column(0), shape)


def cells_of(output: Location, part: Part, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Columns of a part, so many rows at a time. Raises DataError."""
    location = output / part.name
    with reading(location), parquet_file(location, memory_map=True, pre_buffer=False) as file:
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise DataError(f"no column {missing[0]!r}")
        yield from file.iter_batches(batch_size=rows, columns=columns)


def rows_of(output: Location, part: Part, column: str = ROW) -> npt.NDArray[Any]:
    """A column of numbers of a part, whole: its rows, or the scales of int8. Raises DataError."""
    blocks = [batch.column(0).to_numpy() for batch in cells_of(output, part, [column], 1 << 16)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def schema_of(output: Location, part: Part) -> pa.Schema:
    """The columns of a part. Raises DataError."""
    with reading(output / part.name), parquet_file(output / part.name) as file:
        return file.schema_arrow


def read_earlier(output: Location, manifest: Manifest, part: Part, *, retry: bool) -> Earlier:
    """What is known of the rows of a part that is whole; with `retry` not of those that failed."""
    columns, shape, names = columns_of(manifest.options), shape_of(manifest), schema_of(output, part).names
    own = [name for column in columns for name in added(column) if name in names]
    own = [ROW, *(name for name in own if not name.endswith("_embedding"))]
    with reading(output / part.name), parquet_file(output / part.name) as file:
        table = file.read(columns=own)
    vectors = []
    for column in columns:
        found = Vectors(len(table), shape)
        blocks = list(vectors_of(output, manifest, part, column.name, 1 << 14))
        if blocks:
            found.codes = np.concatenate(blocks)
        for name, attribute in (("scale", "scales"), ("tokens", "tokens"), ("truncated", "truncated")):
            if f"{column.name}_{name}" in own:
                setattr(found, attribute, table.column(f"{column.name}_{name}").to_numpy())
        vectors.append(found)
    failures: dict[int, list[Failure]] = {}
    for each in errors_of(output, part).to_pylist() if not retry else []:
        failure = Failure(each["row"], each["column"], each["reason"], each["message"])
        failures.setdefault(each["row"], []).append(failure)
    return Earlier(table.column(ROW).to_numpy(), vectors, failures)


def codes_of(column: pa.ChunkedArray | pa.Array, shape: Shape) -> Codes:
    """The vectors of a column of a part: [rows, width] in the encoding's type. Raises DataError where one has
    another length."""
    chunks = getattr(column, "chunks", [column])
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    codes = np.concatenate(flat) if flat else np.zeros(0)
    if len(codes) != len(column) * shape.width:
        raise DataError(f"{len(codes)} numbers in {len(column)} vectors of {shape.width}")
    return codes.astype(DTYPES[shape.encoding], copy=False).reshape(len(column), shape.width)


def _array(location: Location) -> Codes:
    with reading(location):
        try:
            if isinstance(location, Path):
                found: Codes = np.load(location, mmap_mode="r", allow_pickle=False)
                return found
            with location.open("rb") as file:
                return np.asarray(np.load(file, allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise DataError(f"{location}: no array of numpy ({error})") from None
