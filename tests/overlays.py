"""What is large and only some tests want lies beside the environment (`make sdks`, `make ray`). A
process that is started with its folder on the path can import it.

    done = subprocess.run([sys.executable, "-c", code], env=overlay("sdks"), …)
    cohere = imported("sdks", "cohere")

Never put such a folder on the path of the test run when it starts: some of these packages bring plugins of
pytest. `imported` comes later, and what the environment itself holds goes before it.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ["imported", "overlay"]


def overlay(name: str) -> dict[str, str]:
    """The environment of a process that can import what `make NAME` installed. Skips where nothing is."""
    return {**os.environ, "PYTHONPATH": str(_folder(name))}


def imported(name: str, module: str) -> Any:
    """A module of what `make NAME` installed, in this process. Skips the test where nothing is."""
    folder = str(_folder(name))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)


def _folder(name: str) -> Path:
    folder = Path(sys.prefix) / name
    if not (folder / ".stamp").exists():
        pytest.skip(f"what this needs is not installed: run `make {name}`")
    return folder
