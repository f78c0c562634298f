"""One overload for all tests that look at it: it takes a while."""

from __future__ import annotations

import pytest

from tests.faults.overload.overload import Overload, watch


@pytest.fixture(scope="session")
def overload(tmp_path_factory: pytest.TempPathFactory) -> Overload:
    """Some seconds of five times what the device can do."""
    return watch(6.0, tmp_path_factory.mktemp("overload") / "queue")
