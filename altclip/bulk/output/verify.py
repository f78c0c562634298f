"""Checks an output against its manifest: files, counts, rows, vectors. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from altclip.bulk.columns import ROW
from altclip.bulk.output.folder import faults_of_files, files_below, read_manifest
from altclip.bulk.output.layout import columns_of
from altclip.bulk.output.manifest import DONE, Manifest, Part
from altclip.bulk.output.reading import errors_of, rows_of, schema_of, vectors_of
from altclip.bulk.sources.arrow import require
from altclip.bulk.sources.locations import Location
from altclip.bulk.sources.tables import difference
from altclip.datasets.items import DataError, is_hidden

NORM_TOLERANCE = {"float32": 1e-3, "float16": 4e-3, "int8": 3e-2}
"""How far a vector's length may be from 1."""

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Verified:
    """What an output holds, and what is wrong with it."""

    rows: int
    embedded: int
    errors: int
    faults: list[str]


def verify(output: Location) -> Verified:
    """Checks everything. Raises DataError where there is no output."""
    require()
    manifest = read_manifest(output)
    if manifest is None:
        raise DataError(f"{output}: no output of a bulk job")
    size = int(manifest.options["rows_per_shard"])
    faults = [*_faults_of_books(manifest), *_strangers(output, manifest)]
    whole: list[Part] = []
    for part in manifest.parts:
        found = list(faults_of_files(output, part)) or _faults_of_part(output, manifest, part, size)
        faults += found
        whole += [] if found else [part]
    faults += _faults_of_columns(output, whole)
    return Verified(manifest.rows, manifest.embedded, manifest.errors, faults)


def _strangers(output: Location, manifest: Manifest) -> Iterator[str]:
    """Files that are read with the parts, and are none."""
    named = {stored.name for part in manifest.parts for stored in part.files}
    for name in files_below(output):
        if name.endswith((".parquet", ".npy")) and name not in named and not is_hidden(name):
            yield f"{name}: the manifest does not name it"


def _faults_of_books(manifest: Manifest) -> Iterator[str]:
    if manifest.state != DONE:
        yield "the job is not done: the same command goes on with it"
    wanted = [manifest.layout.main(number) for number in manifest.numbers]
    there = [part.name for part in manifest.parts]
    yield from (f"{name}: is not in the manifest" for name in wanted if name not in there)
    yield from (f"{name}: belongs to no rows of the input" for name in there if name not in wanted)
    if manifest.state == DONE and manifest.embedded + manifest.errors != manifest.rows:
        told = f"{manifest.embedded:,} in parts and {manifest.errors:,} in errors"
        yield f"the books do not balance: {manifest.rows:,} rows in the input, {told}"


def _faults_of_columns(output: Location, parts: Sequence[Part]) -> Iterator[str]:
    """Parts that are sound by themselves, but cannot be read as one table."""
    schemas = [schema_of(output, part) for part in parts]
    for part, schema in zip(parts, schemas, strict=True):
        if told := difference(schemas[0], schema):
            yield f"{part.name}: {told} than in {parts[0].name}"


def _faults_of_part(output: Location, manifest: Manifest, part: Part, size: int) -> list[str]:
    import pyarrow as pa

    try:
        failed = errors_of(output, part).column(ROW).to_pylist()
        faults = list(_faults_of_rows(rows_of(output, part), failed, part, size))
        faults += _faults_of_vectors(output, manifest, part)
    except (pa.ArrowException, OSError, KeyError, DataError) as error:
        return [f"{part.name}: {' '.join(str(error).split())}"]
    return [f"{part.name}: {fault}" for fault in faults]


def _faults_of_rows(
    rows: npt.NDArray[np.int64], failed: Sequence[int], part: Part, size: int
) -> Iterator[str]:
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


def _faults_of_vectors(output: Location, manifest: Manifest, part: Part) -> Iterator[str]:
    schema = schema_of(output, part)
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    for name in ("model", "revision"):
        if metadata.get(f"altclip.{name}") != getattr(manifest, name):
            yield f"of the {name} {metadata.get(f'altclip.{name}')}, not {getattr(manifest, name)}"
    for column in columns_of(manifest.options):
        wrong = other = count = 0
        scales = rows_of(output, part, f"{column.name}_scale") if manifest.encoding == "int8" else None
        for codes in vectors_of(output, manifest, part, column.name, BLOCK_ROWS):
            start, count = count, count + len(codes)
            if manifest.encoding == "binary":
                continue
            values = codes.astype(np.float32)
            if scales is not None:
                values *= scales[start:count, None]
            lengths = np.linalg.norm(values, axis=1)
            finite = np.isfinite(lengths)
            wrong += int(np.sum(~finite))
            other += int(np.sum(np.abs(lengths[finite] - 1) > NORM_TOLERANCE[manifest.encoding]))
        if count != part.rows:
            yield f"{count:,} vectors of {column.name} instead of {part.rows:,}"
        if wrong:
            yield f"{wrong:,} vectors of {column.name} are not finite"
        if other:
            yield f"{other:,} vectors of {column.name} are not of length 1"
