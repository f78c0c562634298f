"""Every input that is kept, of which some once found a bug, meets its target again."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_no_kept_input_is_a_surprise(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert len(files) > 5
    for file in files:
        TARGETS[name](file.read_bytes())
