"""How rows are compared."""

from __future__ import annotations

import numpy as np

from worker.families import Floats

__all__ = ["cosine"]


def cosine(ours: Floats, theirs: Floats) -> float:
    """The smallest cosine between rows of two [..., width] arrays."""
    a, b = (np.asarray(x, np.float64).reshape(-1, x.shape[-1]) for x in (ours, theirs))
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())
