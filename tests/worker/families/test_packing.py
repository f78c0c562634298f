"""Packing computes each token once, places it as XLM-RoBERTa does, and can be undone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.families.altclip.packing import Group, Ids, pack

PAD = 1
sequences = st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=12).map(lambda ids: np.array(ids, np.int32)),
    min_size=1,
    max_size=20,
)


def reference_positions(ids: Ids) -> list[int]:
    """transformers' create_position_ids_from_input_ids."""
    real = (ids != PAD).astype(int)
    return [int(position) for position in np.cumsum(real) * real + PAD]


@given(sequences)
def test_every_token_stands_in_the_row_once_and_nothing_else_does(batch: list[Ids]) -> None:
    packing = pack(batch, PAD)
    assert len(packing.ids) == sum(map(len, batch))
    for index, number in enumerate(packing.order):
        rows = slice(packing.boundaries[index], packing.boundaries[index + 1])
        assert packing.ids[rows].tolist() == batch[number].tolist()
        assert packing.positions[rows].tolist() == reference_positions(batch[number])


@given(sequences, st.booleans())
def test_groups_cover_all_rows_with_sequences_of_one_length(batch: list[Ids], tails: bool) -> None:
    packing = pack(batch, PAD, 12 if tails else 0)
    at = first = 0
    for group in packing.groups:
        assert (group.start, group.first) == (at, first)
        lengths = {len(batch[n]) for n in packing.order[first : first + group.count]}
        assert lengths == {group.keys}
        assert group.rows == group.keys + (tails and group.keys < 12)
        at, first = at + group.count * group.rows, first + group.count
    assert (at, first) == (len(packing.ids), len(batch))
    assert len({group.keys for group in packing.groups}) == len(packing.groups)


@given(sequences)
def test_prompt_states_are_the_padded_batch_in_its_own_order(batch: list[Ids]) -> None:
    packing = pack(batch, PAD, 12)
    rows = packing.states(12)
    for number, ids in enumerate(batch):
        padded = ids.tolist() + [PAD] * (12 - len(ids))
        assert packing.ids[rows[number]].tolist() == padded
        assert packing.positions[rows[number]].tolist() == reference_positions(np.array(padded))


def test_equal_lengths_are_one_group() -> None:
    batch = [np.array(ids, np.int32) for ids in ([5, 6], [7], [8, 9], [4])]
    packing = pack(batch, PAD)
    assert packing.groups == (Group(0, 0, 2, 1, 1), Group(2, 2, 2, 2, 2))
    assert packing.order.tolist() == [1, 3, 0, 2]
