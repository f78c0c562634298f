"""What the tests of conversions convert, and into what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def source(checkpoints: Callable[..., Path]) -> str:
    return str(checkpoints(size="tiny"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "converted"
