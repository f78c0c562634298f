"""Opens an input, and says what identifies it: the files' names, sizes and hashes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from altclip.bulk.sources.arrow import require
from altclip.bulk.sources.files import Found, hash_of, hash_of_listing
from altclip.bulk.sources.lines import LinesSource
from altclip.bulk.sources.pictures import PictureSource
from altclip.bulk.sources.source import Source
from altclip.bulk.sources.tables import ParquetSource
from altclip.bulk.sources.tars import TarSource


def open_source(found: Found, embedded: Collection[str]) -> Source:
    """The input as a source; `embedded` are names of columns that may be embedded. Raises DataError."""
    if found.kind == "parquet":
        return ParquetSource(found)
    if found.kind == "images":
        require("PIL.Image")
        return PictureSource(found)
    if found.kind == "tar":
        return TarSource(found)
    return LinesSource(found, embedded)


def identify(found: Found, counts: Sequence[int] = ()) -> list[dict[str, object]]:
    """What the manifest says of the input's files. A folder of images is one entry for all of them.

    counts: of such a folder how many files it had when it was read before; an entry tells of so many.
    """
    if found.kind == "images":
        count = counts[0] if counts else len(found.files)
        size, digest = hash_of_listing(found, count)
        return [{"path": ".", "files": count, "size": size, "hash": digest}]
    entries: list[dict[str, object]] = []
    for file in found.files:
        size, digest = hash_of(file)
        entries.append({"path": found.name(file), "size": size, "hash": digest})
    return entries
