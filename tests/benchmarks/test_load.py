"""Load without a service: how answers are counted."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.load import closed_loop, open_loop


async def test_a_closed_loop_sends_each_number_once_and_never_more_at_a_time() -> None:
    running, most, seen = 0, 0, []

    async def call(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        seen.append(number)

    load = await closed_loop(call, 40, 4)
    assert sorted(seen) == list(range(40))
    assert most == 4
    assert len(load.ok) == 40


async def test_an_open_loop_waits_for_nobody_and_counts_failures() -> None:
    running, most = 0, 0

    async def call(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        if number % 2:
            raise TimeoutError

    load = await open_loop(call, 200, 0.2)
    assert most > 5
    assert (len(load.answers), len(load.ok)) == (40, 20)
    assert load.latency(0.5) >= 0.1


async def test_overload_does_not_look_like_a_higher_rate() -> None:
    """What is answered after the last arrival took its time all the same."""
    busy = asyncio.Lock()

    async def call(number: int) -> None:
        async with busy:
            await asyncio.sleep(0.01)

    load = await open_loop(call, 1000, 0.05)
    assert load.rate <= 100


async def test_a_failure_ends_a_closed_loop() -> None:
    async def call(number: int) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await closed_loop(call, 4, 2)
