"""One browser and one visitor for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.playground.browsing import Visit, chromium, visiting
from tests.server import RunningServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Ended with its file: while Playwright runs, no test of asyncio can run in the same process."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Any, server: RunningServer) -> Iterator[Visit]:
    """A fresh visitor of the shared server, who leaves no request outside it and no fault in the page."""
    with visiting(browser, server.http) as made:
        yield made
        assert made.strangers == []
        assert made.faults == []
