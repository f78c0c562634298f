"""Opens an input, and says what identifies it: the files' names, sizes and hashes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from altclip.bulk.sources.arrow import require
from altclip.bulk.sources.files import LISTED, Found, hash_of, hash_of_listing, latest_change
from altclip.bulk.sources.lines import LinesSource
from altclip.bulk.sources.locations import reading
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
        with reading(found.base):
            size, digest, blocks = hash_of_listing(found, count)
        return [{"path": ".", "files": count, "size": size, "hash": digest, "blocks": blocks}]
    entries: list[dict[str, object]] = []
    for file in found.files:
        size, digest = hash_of(file)
        entries.append({"path": found.name(file), "size": size, "hash": digest})
    return entries


def changed_image(found: Found, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which image of a folder is not what it was, in words; empty where all are. before, now: as `identify`
    says. Of some that differ it is the one that was changed last."""
    if before.get("hash") == now["hash"]:
        return ""
    old, new = before.get("blocks", []), now["blocks"]
    pairs = enumerate(zip(old, new, strict=False))
    block = next((n for n, (one, other) in pairs if one != other), min(len(old), len(new)))
    file = latest_change(found.files[block * LISTED : min((block + 1) * LISTED, now["files"])])
    counts = f"{before.get('files'):,} images before, {now['files']:,} now"
    if file is None:
        return f"images are gone: {counts}"
    name = found.name(file).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return f"{name} has changed or is new, or an image near it is gone ({counts})"
