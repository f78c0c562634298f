"""A Pillow image as a PNG: its pixels are sent and nothing else.

Beside them it has colour profiles, text, transparency and EXIF, and any mode and palette; a file with all of
that can be larger than the service allows, or show other pixels. Pillow is not imported at import time:
whoever hands in one of its images has imported it.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# What a PNG holds without loss and without a palette. The service reads all else as RGB, so it is sent so.
_SENT_AS_IS = frozenset({"1", "L", "LA", "RGB", "RGBA"})
# Pillow has no way from premultiplied alpha to RGB but this.
_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}


def is_pillow(source: object) -> TypeGuard[PilImage]:
    """Whether this is a Pillow image."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def png_of(image: PilImage, *, upright: bool = False) -> bytes:
    """The pixels of the current frame as a PNG without metadata; the service sees them as it would see those
    of the image's own file. upright: turned as the image's EXIF data says.

    Raises what Pillow raises: OSError for a damaged file, ValueError for a closed one.
    """
    pixels = _turned(image) if upright else image.copy()  # both read the file and leave the image as it is
    pixels.info = {}
    if pixels.width == 0 or pixels.height == 0:
        raise ValueError("the image has no pixels")
    if pixels.mode in _STRAIGHT_ALPHA:
        pixels = pixels.convert(_STRAIGHT_ALPHA[pixels.mode])
    if pixels.mode not in _SENT_AS_IS:
        pixels = pixels.convert("RGB")
    pixels.info = {}  # a conversion may have put a profile there
    written = io.BytesIO()
    pixels.save(written, "PNG", compress_level=1)
    return written.getvalue()


def _turned(image: PilImage) -> PilImage:
    from PIL import ImageOps

    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF data that cannot be read says nothing
        return image.copy()
