"""The gate that closes when a frontend drains."""

from __future__ import annotations

import asyncio

import pytest

from service.frontend.api.errors import Draining
from service.frontend.calls.gate import Gate


async def test_a_closed_gate_refuses_and_tells_when_the_last_has_left() -> None:
    gate = Gate()
    gate.enter()
    gate.close()
    with pytest.raises(Draining):
        gate.enter()
    idle = asyncio.create_task(gate.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.leave()
    await idle
