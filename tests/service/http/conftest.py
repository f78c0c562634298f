"""A frontend that speaks HTTP, and a client to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from service.frontend.http.protocol import HttpProtocol
from tests.service.http.asking import Asking, asking

Arriving = Callable[[int], None]


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


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch) -> Arriving:
    """However the kernel splits what is sent, the server's protocol gets pieces of so many bytes."""
    take = HttpProtocol.data_received
    held = bytearray()

    def set_size(size: int) -> None:
        def data_received(protocol: HttpProtocol, data: bytes) -> None:
            held.extend(data)
            while len(held) >= size:
                piece = bytes(held[:size])
                del held[:size]
                take(protocol, piece)

        monkeypatch.setattr(HttpProtocol, "data_received", data_received)

    return set_size
