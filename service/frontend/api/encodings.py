"""From rows of numbers to the bytes of an answer: the four encodings. Pure functions of numpy arrays.

    FLOAT32, FLOAT16   IEEE 754, little-endian
    INT8               value ≈ int8 × scale, with scale = max|x| / 127 of the row (1 for a row of zeros)
    BINARY             1 where the component is > 0, most significant bit first, rows padded to whole bytes

All rows are encoded at once, and an answer is one `bytes`.

All numbers that leave pass the check that stands here. A number that is not finite, or that its encoding
cannot hold, is a fault of the model, and reaches nobody.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from service.frontend.api.errors import Internal
from service.frontend.api.messages import Encoding, Matrix

__all__ = ["checked", "encode", "finite", "sound"]

_FLOAT16_MAX = float(np.finfo(np.float16).max)
_ONE_ROW = 4096
"""Numbers of a row, at most. Of many more, BLAS may share out the product among threads."""


def finite(values: Matrix) -> bool:
    """Whether all numbers are finite."""
    if values.size <= _ONE_ROW and math.isfinite(np.vdot(values, values)):
        return True  # the sum of their squares tells it for one row in a quarter of the time
    return bool(np.isfinite(values).all())


def sound(rows: Matrix, encoding: Encoding = Encoding.FLOAT32) -> npt.NDArray[np.bool_]:
    """Of each row [n, …], whether all its numbers are finite and within what the encoding can hold."""
    flat = rows.reshape(len(rows), -1)
    if encoding is Encoding.FLOAT16:
        return np.asarray((np.abs(flat) <= _FLOAT16_MAX).all(axis=1))  # False for NaN, too
    return np.asarray(np.isfinite(flat).all(axis=1))


def checked(rows: Matrix, encoding: Encoding = Encoding.FLOAT32) -> Matrix:
    """The same rows; raises Internal unless all are sound."""
    if not (finite(rows) if encoding is not Encoding.FLOAT16 else sound(rows, encoding).all()):
        raise Internal
    return rows


def encode(rows: Matrix, encoding: Encoding) -> tuple[bytes, list[float]]:
    """float32 rows [n, d] as bytes, and for INT8 the scale of each row. Raises Internal for unsound rows."""
    rows = checked(rows, encoding)
    match encoding:
        case Encoding.FLOAT32:
            return rows.astype("<f4", copy=False).tobytes(), []
        case Encoding.FLOAT16:
            return rows.astype("<f2").tobytes(), []
        case Encoding.INT8:
            peaks = np.abs(rows).max(axis=1, initial=0.0)
            scales = np.where(peaks > 0.0, peaks / np.float32(127.0), np.float32(1.0)).astype(np.float32)
            # For the smallest float32 numbers peak / 127 loses digits or is 0; such a row counts as zeros.
            scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)
            return np.rint(rows / scales[:, None]).clip(-127, 127).astype(np.int8).tobytes(), scales.tolist()
        case Encoding.BINARY:
            return np.packbits(rows > 0.0, axis=1).tobytes(), []
