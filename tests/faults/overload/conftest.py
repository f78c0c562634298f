"""One overload for all tests that look at it: it takes a while."""

from __future__ import annotations

import pytest

from tests.faults.overload.overload import Overload, watch


@pytest.fixture(scope="session")
def overload() -> Overload:
    """Eight seconds of five times what the device can do."""
    return watch(8.0)
