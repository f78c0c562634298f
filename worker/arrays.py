"""The arrays that models take and give: token ids, pixels, embeddings. Imports numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Decoded", "Floats", "Ids", "Pixels", "Tokens"]

Ids = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Tokens(NamedTuple):
    """One text as token ids (int32 [n], special tokens included, never padded), and whether it was cut."""

    ids: Ids
    truncated: bool


class Decoded(NamedTuple):
    """A picture as the encoder takes it (uint8 [S, S, 3]), and its own width and height in pixels before."""

    pixels: Pixels
    width: int
    height: int
