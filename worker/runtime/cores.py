"""How many processor cores this process may use. Imports nothing beyond the standard library."""

from __future__ import annotations

import math
import os
from pathlib import Path

from worker.runtime.cgroups import MEMBERSHIP, ROOT, groups, read

__all__ = ["usable_cores"]


def usable_cores(cgroup: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """The affinity mask's cores, or the cgroup's quota where that is less; at least one.

    A container's quota does not shrink the mask, and more threads than quota are stopped in the middle of
    their work.
    """
    cores = float(len(os.sched_getaffinity(0)))
    return max(1, math.floor(min([cores, *_quotas(cgroup, membership)])))


def _quotas(cgroup: Path, membership: Path) -> list[float]:
    """In cores, of every cgroup from ours up to the root that has one; versions 1 and 2."""
    quotas = []
    for version, directory in groups("cpu", cgroup, membership):
        quota, period = _version_1(directory) if version == 1 else _version_2(directory)
        if quota > 0 and period > 0:
            quotas.append(quota / period)
    return quotas


def _version_2(directory: Path) -> tuple[int, int]:
    quota, _, period = read(directory / "cpu.max").partition(" ")
    return (int(quota), int(period)) if quota.isdigit() else (0, 0)


def _version_1(directory: Path) -> tuple[int, int]:
    return int(read(directory / "cpu.cfs_quota_us") or 0), int(read(directory / "cpu.cfs_period_us") or 0)
