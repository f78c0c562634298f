"""From rows of numbers to the bytes of an answer: normalising and the four encodings. Imports numpy only.

    FLOAT32, FLOAT16   IEEE 754, little-endian
    INT8               value ≈ int8 × scale, with scale = max|x| / 127 of the row (1 for a row of zeros)
    BINARY             1 where the component is > 0, most significant bit first, rows padded to whole bytes

Everything is vectorised over the rows, and an answer is one `bytes`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.frontend.api.messages import Encoding, Matrix

__all__ = ["encode", "lengths", "normalized"]

_FLOAT16_MAX = float(np.finfo(np.float16).max)


def lengths(rows: Matrix) -> npt.NDArray[np.float64]:
    """The Euclidean length of each row, float64 [n]: no finite float32 row overflows or vanishes."""
    wide = rows.astype(np.float64)
    result: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return result


def normalized(rows: Matrix, known_lengths: npt.NDArray[np.float64] | None = None) -> Matrix:
    """Each row scaled to length 1; a row of zeros stays one. known_lengths: `lengths(rows)`, if at hand."""
    by = lengths(rows) if known_lengths is None else known_lengths
    if not by.all():
        by = np.where(by > 0.0, by, 1.0)
    scaled: Matrix = (rows / by[:, np.newaxis]).astype(np.float32)
    return scaled


def encode(rows: Matrix, encoding: Encoding) -> tuple[bytes, list[float]]:
    """float32 rows [n, d] as bytes, and for INT8 the scale of each row."""
    match encoding:
        case Encoding.FLOAT32:
            return rows.astype("<f4", copy=False).tobytes(), []
        case Encoding.FLOAT16:
            # Beyond half precision's range a value becomes the largest there is, not infinity.
            return rows.clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype("<f2").tobytes(), []
        case Encoding.INT8:
            peaks = np.abs(rows).max(axis=1, initial=0.0)
            scales = np.where(peaks > 0.0, peaks / np.float32(127.0), np.float32(1.0)).astype(np.float32)
            # In the smallest float32 numbers peak / 127 loses its digits or is 0; such a row counts as zeros.
            scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)
            return np.rint(rows / scales[:, None]).clip(-127, 127).astype(np.int8).tobytes(), scales.tolist()
        case Encoding.BINARY:
            return np.packbits(rows > 0.0, axis=1).tobytes(), []
