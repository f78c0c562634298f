"""Checks an output against its manifest: files, counts, rows, vectors. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from altclip.bulk.columns import ROW, Embedded, Shape
from altclip.bulk.output.folder import ERRORS, faults_of_files, read_manifest
from altclip.bulk.output.manifest import DONE, Manifest, Part
from altclip.bulk.output.parts import codes_of
from altclip.bulk.sources.arrow import require
from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

NORM_TOLERANCE = {"float32": 1e-3, "float16": 4e-3, "int8": 3e-2}
"""How far a vector's length may be from 1."""


@dataclass(frozen=True)
class Verified:
    """What an output holds, and what is wrong with it."""

    rows: int
    embedded: int
    errors: int
    faults: list[str]


def verify(output: Path) -> Verified:
    """Checks everything. Raises DataError where there is no output."""
    require()
    manifest = read_manifest(output)
    if manifest is None:
        raise DataError(f"{output}: no output of a bulk job")
    size = int(manifest.options["rows_per_shard"])
    faults = [*_faults_of_books(manifest), *_strangers(output, manifest)]
    for part in manifest.parts:
        found = list(faults_of_files(output, part))
        faults += found or _faults_of_part(output, manifest, part, size)
    return Verified(manifest.rows, manifest.embedded, manifest.errors, faults)


def _strangers(output: Path, manifest: Manifest) -> Iterator[str]:
    """Files that are read with the parts, and are none."""
    named = {part.name for part in manifest.parts}
    for folder in (output, output / ERRORS):
        for file in sorted(folder.glob("*.parquet")):
            if file.name not in named:
                yield f"{file.relative_to(output).as_posix()}: the manifest does not name it"


def _faults_of_books(manifest: Manifest) -> Iterator[str]:
    if manifest.state != DONE:
        yield "the job is not done: the same command goes on with it"
    wanted = manifest.names
    there = [part.name for part in manifest.parts]
    yield from (f"{name}: is not in the manifest" for name in wanted if name not in there)
    yield from (f"{name}: belongs to no rows of the input" for name in there if name not in wanted)
    if manifest.state == DONE and manifest.embedded + manifest.errors != manifest.rows:
        told = f"{manifest.embedded:,} in parts and {manifest.errors:,} in errors"
        yield f"the books do not balance: {manifest.rows:,} rows in the input, {told}"


def _faults_of_part(output: Path, manifest: Manifest, part: Part, size: int) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        errors = pq.read_table(output / ERRORS / part.name)
        with pq.ParquetFile(output / part.name, pre_buffer=False) as file:
            faults = list(_faults_of_rows(file, errors.column(ROW).to_pylist(), part, size))
            faults += _faults_of_vectors(file, manifest)
    except (pa.ArrowException, OSError, KeyError, DataError) as error:
        return [f"{part.name}: {' '.join(str(error).split())}"]
    return [f"{part.name}: {fault}" for fault in faults]


def _faults_of_rows(file: pq.ParquetFile, failed: Sequence[int], part: Part, size: int) -> Iterator[str]:
    rows = file.read(columns=[ROW]).column(ROW).to_numpy()
    if len(rows) != part.rows:
        yield f"{len(rows):,} rows instead of {part.rows:,}"
    if len(set(failed)) != part.errors:
        yield f"{len(set(failed)):,} rows in its errors table instead of {part.errors:,}"
    if len(np.unique(rows)) != len(rows) or np.any(np.diff(rows) < 0):
        yield "rows stand twice, or out of order"
    if set(rows.tolist()) & set(failed):
        yield "rows are in it and in its errors table"
    both = np.concatenate([rows, np.array(failed, np.int64)])
    if len(both) and not part.first_row <= both.min() <= both.max() < part.first_row + size:
        yield "rows of another part"


def _faults_of_vectors(file: pq.ParquetFile, manifest: Manifest) -> Iterator[str]:
    metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
    for name in ("model", "revision"):
        if metadata.get(f"altclip.{name}") != getattr(manifest, name):
            yield f"of the {name} {metadata.get(f'altclip.{name}')}, not {getattr(manifest, name)}"
    shape = Shape(manifest.encoding, manifest.dimension)
    for column in embedded_columns(manifest):
        wanted = [f"{column.name}_embedding"]
        if shape.encoding == "int8":
            wanted.append(f"{column.name}_scale")
        wrong = zero = 0
        for batch in file.iter_batches(batch_size=4096, columns=wanted):
            codes = codes_of(batch.column(0), shape)
            if shape.encoding == "binary":
                continue
            values = codes.astype(np.float32)
            if shape.encoding == "int8":
                values *= batch.column(1).to_numpy()[:, None]
            lengths = np.linalg.norm(values, axis=1)
            wrong += int(np.sum(~np.isfinite(lengths)))
            zero += int(np.sum(np.abs(lengths - 1) > NORM_TOLERANCE[shape.encoding]))
        if wrong:
            yield f"{wrong:,} vectors of {column.name} are not finite"
        elif zero:
            yield f"{zero:,} vectors of {column.name} are not of length 1"


def embedded_columns(manifest: Manifest) -> list[Embedded]:
    """The columns that were embedded."""
    texts, images = manifest.options["text"], manifest.options["image"]
    return [*(Embedded(name, True) for name in texts), *(Embedded(name, False) for name in images)]
