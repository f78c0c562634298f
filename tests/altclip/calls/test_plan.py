"""How a call that is too large is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from altclip.calls.plan import split


@given(st.lists(st.integers(0, 50)), st.integers(1, 9), st.integers(1, 100))
def test_runs_are_in_order_complete_and_within_the_limits(sizes: list[int], most: int, room: int) -> None:
    cuts = split(sizes, most, room)
    assert [i for start, stop in cuts for i in range(start, stop)] == list(range(len(sizes)))
    for start, stop in cuts:
        assert stop - start <= most
        assert sum(sizes[start:stop]) <= room or stop - start == 1


def test_no_run_is_empty_but_that_of_an_empty_call() -> None:
    assert split([], 5, 5) == [(0, 0)]
    assert split([9, 9], 5, 5) == [(0, 1), (1, 2)]
