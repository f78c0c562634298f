"""A frontend that speaks HTTP, and a client to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.http.asking import Asking, asking


@pytest.fixture
async def http() -> AsyncIterator[Asking]:
    async with asking() as made:
        yield made
