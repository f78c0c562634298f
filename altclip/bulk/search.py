"""`altclip search`: the rows of an output that are nearest to a text or an image. Exact: every vector is
compared, part by part."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from altclip.bulk.columns import ROW, added
from altclip.bulk.output.folder import read_manifest
from altclip.bulk.output.layout import columns_of
from altclip.bulk.output.manifest import Manifest
from altclip.bulk.output.reading import cells_of, rows_of, schema_of, vectors_of
from altclip.bulk.sheet import image_column, pictures, write_sheet
from altclip.bulk.sources.arrow import require
from altclip.bulk.sources.locations import Location, location_of
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.errors import RevisionChanged
from altclip.printing import say, say_json, shortened, table
from altclip.results import ImageEmbeddings

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16_384
CELL_COLUMNS = 40

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """A row, its cosine to what was asked for, and its other columns."""

    row: int
    score: float
    cells: dict[str, Any]


def run(client: Client, arguments: Namespace) -> int:
    """Embeds what is asked for with the model of the output, and shows the nearest rows."""
    require(*(("pyarrow", "PIL.Image") if arguments.show else ()))
    output = location_of(arguments.output)
    manifest = read_manifest(output)
    if manifest is None:
        raise DataError(f"{output}: no output of a bulk job")
    column = column_of(manifest, arguments.column)
    model = arguments.model or manifest.model
    orientation = manifest.options.get("orientation", "as_stored")  # as the output's images were embedded
    answer: ImageEmbeddings = (
        client.embed_text(arguments.text, model=model)
        if arguments.text is not None
        else client.embed_image(arguments.image, model=model, orientation=orientation)
    )
    if answer.revision and answer.revision != manifest.revision:
        raise RevisionChanged(
            f"the output is of revision {manifest.revision}, and the service has {answer.revision}: their "
            "vectors cannot be compared"
        )
    shown = image_column(manifest, column) if arguments.show else ""
    hits = nearest(output, manifest, column, answer.vectors[0], arguments.top_k)
    if arguments.show:
        images = pictures(output, manifest, shown, [hit.row for hit in hits], arguments.images)
        named = [(hit.row, hit.score, _name(hit, shown)) for hit in hits]
        write_sheet(arguments.show, named, images)
    if arguments.json:
        say_json([{"row": hit.row, "score": round(hit.score, 6), **hit.cells} for hit in hits])
        return 0
    names = list(hits[0].cells) if hits else []
    rows = [
        (f"{hit.score:.4f}", str(hit.row), *(shortened(str(hit.cells[name]), CELL_COLUMNS) for name in names))
        for hit in hits
    ]
    say("\n".join(table(("cosine", "row", *names), rows, right=[0, 1])))
    return 0


def _name(hit: Hit, column: str) -> str:
    """What a hit is called on the sheet: its image's path, or the first of its cells."""
    return str(hit.cells.get(column, next(iter(hit.cells.values()), "")))


def column_of(manifest: Manifest, wanted: str | None) -> str:
    """The embedded column that is searched. Raises DataError."""
    names = [column.name for column in columns_of(manifest.options)]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        raise DataError(f"name one of the embedded columns with --column: {', '.join(names)}")
    return wanted


def nearest(output: Location, manifest: Manifest, column: str, query: Floats, count: int) -> list[Hit]:
    """The `count` rows with the largest cosine to the query, best first; of equal ones the earlier row."""
    query = query / max(float(np.linalg.norm(query)), 1e-12)
    rows = np.zeros(0, np.int64)
    scores = np.zeros(0, np.float32)
    for some, vectors in _vectors(output, manifest, column):
        rows, scores = np.concatenate([rows, some]), np.concatenate([scores, vectors @ query])
        best = np.lexsort((rows, -scores))[:count]
        rows, scores = rows[best], scores[best]
    cells = _cells(output, manifest, rows.tolist())
    return [
        Hit(row, score, cells.get(row, {})) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def _vectors(
    output: Location, manifest: Manifest, column: str
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """All rows and their vectors of length 1, some at a time."""
    for part in manifest.parts:
        rows, start = rows_of(output, part), 0
        for codes in vectors_of(output, manifest, part, column, BATCH_ROWS):
            if manifest.encoding == "binary":
                bits = np.unpackbits(codes, axis=1, count=manifest.dimension)
                vectors = np.where(bits, np.float32(1), np.float32(-1))
            else:
                vectors = codes.astype(np.float32)
            lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            yield rows[start : start + len(codes)], vectors / lengths
            start += len(codes)


def _cells(output: Location, manifest: Manifest, rows: list[int]) -> dict[int, dict[str, Any]]:
    """The input's columns of these rows, without those that hold bytes."""
    found: dict[int, dict[str, Any]] = {}
    ours = {ROW, *(name for column in columns_of(manifest.options) for name in added(column))}
    for part in manifest.parts:
        wanted = [row for row in rows if part.first_row <= row < part.first_row + part.rows + part.errors]
        if not wanted:
            continue
        names = [
            field.name for field in schema_of(output, part) if field.name not in ours and _legible(field.type)
        ]
        for batch in cells_of(output, part, [ROW, *names], BATCH_ROWS):
            for place in np.flatnonzero(np.isin(batch.column(ROW).to_numpy(), wanted)).tolist():
                # A slice: pyarrow has no filter for views.
                (row,) = batch.slice(place, 1).to_pylist()
                found[row.pop(ROW)] = {name: _plain(value) for name, value in row.items()}
    return found


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it: a time, a decimal and the like as text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _legible(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _legible(kind.value_type)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return not (binary or pa.types.is_fixed_size_binary(kind) or pa.types.is_struct(kind))
