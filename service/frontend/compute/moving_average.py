"""The exponential moving average by which a frontend learns how long things take. Pure."""

from __future__ import annotations

__all__ = ["blend"]


def blend(average: float, value: float, weight: float) -> float:
    """The new average, after a value of this weight (0 to 1). The first value is the average itself."""
    return average + weight * (value - average) if average > 0.0 else value
