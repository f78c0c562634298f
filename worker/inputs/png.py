"""Reads a PNG file's chunks, to leave out what has no say in its pixels. No Pillow.

Pillow reads every text and colour profile of a file, and refuses the file where one of them is large when
unpacked, or damaged. The pixels of such a file are whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

__all__ = ["SIGNATURE", "without_metadata"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks (their names begin with a small letter) that decide what is seen: transparency, animation.
_VISIBLE = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_XMP = b"XML:com.adobe.xmp\0\0"
_MOST_XMP = 1 << 16


def without_metadata(content: bytes) -> bytes:
    """The same picture without texts, colour profile and the like.

    Only what may say how to turn the picture stays: EXIF data and a short XMP text, where they are intact.
    What is no PNG file any more, from some chunk on, stays as it is from there on.
    """
    parts = [SIGNATURE]
    changed = False
    for name, start, end in _chunks(content):
        if _stays(content, name, start, end):
            parts.append(content[start:end])
        else:
            changed = True
    return b"".join(parts) if changed else content


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk; from the first one that is cut off on, the rest with no name."""
    start = len(SIGNATURE)
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if end > len(content):
            yield b"", start, len(content)
            return
        yield content[start + 4 : start + 8], start, end
        start = end


def _stays(content: bytes, name: bytes, start: int, end: int) -> bool:
    if not name[:1].islower() or name in _VISIBLE:
        return True
    if name == b"eXIf" or (
        name == b"iTXt" and end - start <= _MOST_XMP and content.startswith(_XMP, start + 8)
    ):
        return zlib.crc32(content[start + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")
    return False
