"""Checkpoints with random weights, made once a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import make_checkpoint

# As AltClipFamily.load() has it; here torch is imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`checkpoints(size=..., tokenizer=..., ...)` → a directory, made on first use; never write to it."""
    made: dict[tuple[tuple[str, Any], ...], Path] = {}

    def make(**options: Any) -> Path:
        key = tuple(sorted(options.items()))
        if key not in made:
            made[key] = make_checkpoint(tmp_path_factory.mktemp("checkpoint"), **options)
        return made[key]

    return make
