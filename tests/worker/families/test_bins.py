"""Where texts lie in bins."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.families.altclip.bins import fit, flat_size, lay, sizes, split, states


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80))
def test_no_two_share_a_row_and_none_crosses_from_one_bin_to_the_next(wanted: list[int]) -> None:
    count, starts = fit(wanted, 40)
    ends = starts + wanted - 1
    assert (starts // 40 == ends // 40).all()
    taken = np.concatenate([np.arange(first, last + 1) for first, last in zip(starts, ends, strict=True)])
    assert len(set(taken.tolist())) == sum(wanted)
    assert starts.min() >= 0
    assert ends.max() < 40 * count
    # Two bins half empty would have been one.
    assert count <= max(1, 2 * sum(wanted) / 40 + 1)


def test_mixed_lengths_leave_little_room() -> None:
    drawn = np.clip(np.rint(np.exp(np.random.default_rng(0).normal(2.4, 0.8, 1000))), 3, 77).astype(int)
    count, _ = fit(drawn.tolist(), 128)
    assert drawn.sum() / (128 * count) > 0.98


def test_each_row_is_the_token_that_was_put_there() -> None:
    sequences = [np.array(ids, np.int32) for ids in ([0, 2], [0, 7, 1, 8, 2], [0, 9, 2])]
    flat = np.full(flat_size(16, 4), -1, np.int32)
    laid = split(flat, 16)
    count, starts = fit(sizes(sequences), 8)
    assert (count, starts.tolist()) == (2, [8, 0, 5])
    lay(sequences, starts, 1, laid)
    assert laid.ids.tolist() == [0, 7, 1, 8, 2, 0, 9, 2, 0, 2, 0, 0, 0, 0, 0, 0]
    assert laid.positions.tolist() == [2, 3, 1, 4, 5, 2, 3, 4, 2, 3, 0, 0, 0, 0, 0, 0]
    assert laid.asking.tolist() == [2, 2, 2, 2, 2, 3, 3, 3, 1, 1, 0, 0, 0, 0, 0, 0]
    assert laid.asked.tolist() == laid.asking.tolist()
    assert laid.firsts.tolist() == [8, 0, 5, 0]


def test_padding_asks_is_not_asked_and_stands_for_all_positions_past_the_end() -> None:
    sequences = [np.array(ids, np.int32) for ids in ([0, 5, 2], [0, 6, 7, 2])]
    laid = split(np.empty(flat_size(8, 2), np.int32), 8)
    rows = sizes(sequences, 4)
    assert rows == [4, 4]
    _, starts = fit(rows, 8)
    lay(sequences, starts, 1, laid, 4)
    assert laid.ids.tolist() == [0, 5, 2, 1, 0, 6, 7, 2]
    assert laid.positions.tolist() == [2, 3, 4, 1, 2, 3, 4, 5]
    assert laid.asking.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert laid.asked.tolist() == [1, 1, 1, 0, 2, 2, 2, 2]
    assert states(starts, rows, 6).tolist() == [[0, 1, 2, 3, 3, 3], [4, 5, 6, 7, 7, 7]]
