"""Results of many scores, as a transport writes them into its answer."""

from __future__ import annotations

import asyncio

import pytest

from service.frontend.core.scoring import SCORES_AT_ONCE, in_turns


@pytest.mark.parametrize(("scores", "turns"), [(SCORES_AT_ONCE, 0), (SCORES_AT_ONCE + 1, 8)])
async def test_an_answer_of_many_scores_lets_others_have_their_turns(scores: int, turns: int) -> None:
    had = 0

    async def others() -> None:
        nonlocal had
        while True:
            await asyncio.sleep(0)
            had += 1

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    had = 0
    assert [each async for each in in_turns(range(8), scores)] == list(range(8))
    assert had == turns
    beside.cancel()
