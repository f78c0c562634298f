"""Real tools that tests run, each skipped with a reason where it is not installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest

__all__ = ["promtool", "tool"]


def tool(name: str) -> str:
    """The path of a command; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (make tools)")
    return path


def promtool(*arguments: str, data: str | None = None) -> subprocess.CompletedProcess[str]:
    """What it says to these arguments."""
    command = [tool("promtool"), *arguments]
    return subprocess.run(command, input=data, capture_output=True, text=True, timeout=60, check=False)
