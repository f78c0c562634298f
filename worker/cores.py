"""How many processor cores this process may use. Imports nothing beyond the standard library."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["usable_cores"]


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The affinity mask's cores, or the cgroup's quota where that is less; at least one.

    A container's quota does not shrink the mask, and more threads than quota are stopped in the middle of their work.
    """
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass
    return max(1, math.floor(cores))
