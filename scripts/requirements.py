"""Prints the requirements of the lists that are given as arguments, one a line; `make lock` resolves them.

A list is `client` or `server` (what each distribution needs), an extra of theirs, or a dependency group of
the pyproject.toml above. The two distributions themselves are left out: they are installed from this folder.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = re.compile(r"altclip(-server)?(?![\w-])")


def lists() -> dict[str, list[str]]:
    """Name of a list → its requirements."""
    client = tomllib.loads((ROOT / "pyproject.toml").read_text())
    server = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text())
    return {
        "client": client["project"]["dependencies"],
        **client["project"]["optional-dependencies"],
        **client["dependency-groups"],
        "server": server["dependency-groups"]["needs"],
        "heic": server["project"]["optional-dependencies"]["heic"],
    }


if __name__ == "__main__":
    known = lists()
    for line in (line for name in sys.argv[1:] for line in known[name]):
        if not OURS.match(line):
            print(line)
