"""The contact sheet of a search: one PNG with the images of the hits, the best first, each with its cosine
and its row. An image that is not there, or cannot be decoded, is an empty tile that says so."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altclip.bulk.columns import ROW
from altclip.bulk.flow.cells import SCHEMES
from altclip.bulk.output.layout import columns_of
from altclip.bulk.output.manifest import Manifest
from altclip.bulk.output.reading import cells_of, schema_of
from altclip.bulk.sources.locations import Location, location_of
from altclip.bulk.sources.pictures import FORMATS
from altclip.datasets.items import DataError
from altclip.output import whole_file
from altclip.printing import shortened

if TYPE_CHECKING:
    from PIL.Image import Image

TILE, CAPTION, GAP, ACROSS = 224, 36, 8, 5
"""Pixels of a tile's sides, of the lines below it, and between tiles; tiles in a row."""


def image_column(manifest: Manifest, searched: str) -> str:
    """The column whose images are shown: the one that is searched, or else the only one with images. Raises
    DataError."""
    names = [column.name for column in columns_of(manifest.options) if not column.is_text]
    if searched in names:
        return searched
    if len(names) != 1:
        raise DataError(f"--show needs one column with images: {', '.join(names) or 'the output has none'}")
    return names[0]


def pictures(
    output: Location, manifest: Manifest, column: str, rows: Sequence[int], folder: str | None
) -> Mapping[int, bytes | str]:
    """The images of these rows, or why one cannot be had. folder: where paths begin; None for where the input
    was."""
    base = location_of(folder if folder is not None else str(manifest.input.get("base", ".")))
    found: dict[int, bytes | str] = {}
    for part in manifest.parts:
        wanted = {row for row in rows if part.first_row <= row < part.first_row + part.rows + part.errors}
        if not wanted:
            continue
        if column not in schema_of(output, part).names:
            return dict.fromkeys(rows, "not in the output")
        for batch in cells_of(output, part, [ROW, column], 1024):
            for row, value in zip(batch.column(0).to_pylist(), batch.column(1), strict=True):
                if row in wanted:
                    found[row] = _content(value.as_py(), base)
    return found


def _content(cell: Any, base: Location) -> bytes | str:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str) or cell.startswith(SCHEMES):
        return "not in the output"
    path = base / cell
    try:
        if isinstance(path, Path) and not path.is_file():
            return "no such file"
        return path.read_bytes()
    except Exception as error:  # a store's library has errors of its own
        return type(error).__name__


def write_sheet(
    target: Path, hits: Sequence[tuple[int, float, str]], images: Mapping[int, bytes | str]
) -> None:
    """Writes the sheet. hits: row, cosine, and what the row is called. Raises OutputError."""
    from PIL import Image, ImageDraw, ImageFont

    across = max(1, min(ACROSS, len(hits)))
    down = max(1, -(-len(hits) // across))
    size = (across * (TILE + GAP) + GAP, down * (TILE + CAPTION + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (row, score, name) in enumerate(hits):
        left = GAP + number % across * (TILE + GAP)
        top = GAP + number // across * (TILE + CAPTION + GAP)
        content = images.get(row, "not in the output")
        tile = _decoded(content) if isinstance(content, bytes) else None
        if tile is None:
            told = content if isinstance(content, str) else "cannot be decoded"
            draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline="lightgrey")
            draw.text((left + TILE / 2, top + TILE / 2), _ascii(told), fill="grey", font=font, anchor="mm")
        else:
            sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        lines = f"{score:.4f}  row {row:,}\n{_ascii(shortened(name, 30))}"
        draw.multiline_text((left, top + TILE + 2), lines, fill="black", font=font)
    with whole_file(target) as file:
        sheet.save(file, "PNG")


def _decoded(content: bytes) -> Image | None:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata; what is too large is an error
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.draft("RGB", (TILE, TILE))
                found = ImageOps.exif_transpose(image).convert("RGB")
        found.thumbnail((TILE, TILE))
        return found
    except Exception:
        return None


def _ascii(text: str) -> str:
    """What the font that comes with Pillow has."""
    return text.encode("ascii", "replace").decode()
