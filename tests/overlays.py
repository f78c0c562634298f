"""What is large and only some tests want lies beside the environment (`make sdks`, `make ray`). A
process that is started with its folder on the path can import it.

    done = subprocess.run([sys.executable, "-c", code], env=overlay("sdks"), …)

Never put such a folder on the path of the test run itself: some of these packages bring plugins of pytest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

__all__ = ["overlay"]


def overlay(name: str) -> dict[str, str]:
    """The environment of a process that can import what `make NAME` installed. Skips where nothing is."""
    folder = Path(sys.prefix) / name
    if not (folder / ".stamp").exists():
        pytest.skip(f"what this needs is not installed: run `make {name}`")
    return {**os.environ, "PYTHONPATH": str(folder)}
