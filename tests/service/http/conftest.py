"""A frontend that speaks HTTP, and a client to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.service.http.asking import Asking, asking


@pytest.fixture
async def http() -> AsyncIterator[Asking]:
    async with asking() as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared() -> AsyncIterator[Asking]:
    """One for all tests that change nothing in it and count nothing; they run on the session's loop:
    `@pytest.mark.asyncio(loop_scope="session")`."""
    async with asking() as made:
        yield made
