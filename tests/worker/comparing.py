"""How rows are compared."""

from __future__ import annotations

import numpy as np

from worker.families import Floats

__all__ = ["assert_close", "cosine"]


def cosine(ours: Floats, theirs: Floats) -> float:
    """The smallest cosine between rows of two [..., width] arrays."""
    a, b = (np.asarray(x, np.float64).reshape(-1, x.shape[-1]) for x in (ours, theirs))
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def assert_close(ours: Floats, theirs: Floats) -> None:
    """Equal to what single precision leaves after sums in another order."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
