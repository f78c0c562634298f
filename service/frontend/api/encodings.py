"""From rows of numbers to the bytes of an answer: the four encodings. Pure functions of numpy arrays.

    FLOAT32, FLOAT16   IEEE 754, little-endian
    INT8               value ≈ int8 × scale, with scale = max|x| / 127 of the row (1 for a row of zeros)
    BINARY             1 where the component is > 0, most significant bit first, rows padded to whole bytes

All rows are encoded at once, and an answer is one `bytes`.
"""

from __future__ import annotations

import numpy as np

from service.frontend.api.messages import Encoding, Matrix

__all__ = ["encode"]

_FLOAT16_MAX = float(np.finfo(np.float16).max)


def encode(rows: Matrix, encoding: Encoding) -> tuple[bytes, list[float]]:
    """float32 rows [n, d] as bytes, and for INT8 the scale of each row."""
    match encoding:
        case Encoding.FLOAT32:
            return rows.astype("<f4", copy=False).tobytes(), []
        case Encoding.FLOAT16:
            # A value beyond half precision's range becomes its largest number, and not infinity.
            return rows.clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype("<f2").tobytes(), []
        case Encoding.INT8:
            peaks = np.abs(rows).max(axis=1, initial=0.0)
            scales = np.where(peaks > 0.0, peaks / np.float32(127.0), np.float32(1.0)).astype(np.float32)
            # For the smallest float32 numbers peak / 127 loses digits or is 0; such a row counts as zeros.
            scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)
            return np.rint(rows / scales[:, None]).clip(-127, 127).astype(np.int8).tobytes(), scales.tolist()
        case Encoding.BINARY:
            return np.packbits(rows > 0.0, axis=1).tobytes(), []
