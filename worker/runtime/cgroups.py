"""The cgroups that this process is in, by which the kernel bounds what it may use. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["MEMBERSHIP", "ROOT", "groups", "read"]

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def groups(controller: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> Iterator[tuple[int, Path]]:
    """The version (1 or 2) and the directory of every cgroup from ours up to the root, for one controller."""
    for line in read(membership).splitlines() or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        # In a container the path may be the host's and not be there: the mount itself is our cgroup then.
        group = top / path.lstrip("/")
        for directory in (group, *group.parents):
            if directory.is_relative_to(top):
                yield 1 if controllers else 2, directory


def read(path: Path) -> str:
    """The text of a file, without white space around it; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
