"""Pixels in a numpy array as a PNG, written here because a client has no image library.

The format is the PNG specification's (ISO/IEC 15948): a signature, and chunks of length, type, data, CRC-32.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from altclip.errors import InvalidArgument

SHAPES = "[height, width] (grey), [height, width, 3] (RGB) or [height, width, 4] (RGBA)"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # colour types
_UP = 2  # the filter that stores each byte less the one above it: photographs get smaller by it
_FAST = 1  # zlib's level: a smaller file is not worth the processor time


def png_of(array: npt.NDArray[Any], field: str) -> bytes:
    """The pixels of an image as a PNG. Of RGBA the colours are sent, for alpha is dropped by the service.

    Args:
        array: uint8 [height, width], [height, width, 3] or [height, width, 4].
        field: What the caller knows the array by.

    Raises InvalidArgument for every other array.
    """
    pixels = _colours(array, field)
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    colour = _GREY if pixels.ndim == 2 else _RGB
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = zlib.compress(filtered.data, _FAST)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _colours(array: npt.NDArray[Any], field: str) -> npt.NDArray[np.uint8]:
    """The array without alpha. Raises InvalidArgument, which says how to mend the common mistakes."""
    shape = list(array.shape)
    if array.dtype != np.uint8:
        floats = "; multiply floats from 0 to 1 by 255 and round them" if array.dtype.kind == "f" else ""
        what = f"pixels are uint8 from 0 to 255, not {array.dtype}{floats}"
    elif array.ndim < 2:
        what = f"pixels are {SHAPES}, not {shape}; the bytes of a file are given as array.tobytes()"
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)):
        if array.size:
            return array[..., :3] if array.ndim == 3 else array
        what = f"an image of {shape} has no pixels"
    elif array.ndim == 3 and array.shape[0] in (3, 4):
        what = f"pixels are {SHAPES}, not {shape}; put the channels last: array.transpose(1, 2, 0)"
    else:
        what = f"pixels are {SHAPES}, not {shape}"
    raise InvalidArgument.at(field, what)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
