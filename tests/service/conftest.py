"""A frontend as most tests here want it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.running import Running, running


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running() as made:
        yield made


@pytest.fixture
async def caching() -> AsyncIterator[Running]:
    """One that keeps what was computed."""
    async with running(cache_bytes=1 << 20) as made:
        yield made
