"""How near the kernel is to ending a process of the service for want of memory. Standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from worker.runtime.cgroups import MEMBERSHIP, ROOT, groups, read

__all__ = ["Memory", "nearest_limit"]

_MACHINE = Path("/proc/meminfo")


class Memory(NamedTuple):
    """In bytes. used: without pages of files that the kernel can drop."""

    used: int
    limit: int


def nearest_limit(cgroup: Path = ROOT, membership: Path = MEMBERSHIP, machine: Path = _MACHINE) -> Memory:
    """Of our cgroups' limits and the machine's memory the one of which the largest part is in use."""
    found = [_machine(machine)]
    for version, directory in groups("memory", cgroup, membership):
        found.append(_version_1(directory) if version == 1 else _version_2(directory))
    limited = [each for each in found if each.limit > 0]
    return max(limited, key=lambda each: each.used / each.limit, default=Memory(0, 0))


def _version_2(directory: Path) -> Memory:
    limit = read(directory / "memory.max")  # "max" for none
    cached = _lines(directory / "memory.stat").get("inactive_file", 0)
    used = int(read(directory / "memory.current") or 0) - cached
    return Memory(max(0, used), int(limit) if limit.isdigit() else 0)


def _version_1(directory: Path) -> Memory:
    # No limit is a number of about 2 ** 63: so little of it is in use that the machine's counts.
    cached = _lines(directory / "memory.stat").get("total_inactive_file", 0)
    used = int(read(directory / "memory.usage_in_bytes") or 0) - cached
    return Memory(max(0, used), int(read(directory / "memory.limit_in_bytes") or 0))


def _machine(path: Path) -> Memory:
    lines = _lines(path)
    total = lines.get("MemTotal", 0)
    return Memory(1024 * (total - lines.get("MemAvailable", total)), 1024 * total)


def _lines(path: Path) -> dict[str, int]:
    """The lines "NAME NUMBER" or "NAME: NUMBER kB" of a file."""
    pairs = (line.replace(":", " ").split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}
