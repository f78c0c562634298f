"""How the texts of a batch lie in one row of tokens, so that no padding is computed. Pure; needs numpy only.

Sequences are sorted by length and laid end to end; those of equal length stand together and form a `Group`,
whose attention is one batched call:

    ids        a a a b b b c c c c c d        rows of the token matrix
    groups     |-- 2 × 3 --|-- 1 × 5 --| ...  `rows` × `count` token rows from `start`

For prompt states, whose padding rows are part of the answer, each short sequence carries one padding token at
its end. It asks but is never asked (`keys` < `rows`), and stands for all of the sequence's padding rows,
which are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Group", "Packing", "pack", "state_rows", "token_positions"]

Ids = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """`count` sequences of `rows` token rows each, from token row `start`; the first `keys` are attended to.

    first: the index of its first sequence, in packed order.
    """

    start: int
    first: int
    count: int
    rows: int
    keys: int


@dataclass(frozen=True, slots=True)
class Packing:
    """The batch as arrays.

    ids, positions: int32 [tokens]. order: int64 [sequences], packed sequence i was number order[i] in the
    batch. boundaries: int64 [sequences + 1], sequence i holds token rows boundaries[i] to boundaries[i + 1].
    """

    ids: Ids
    positions: Ids
    order: Indices
    boundaries: Indices
    groups: tuple[Group, ...]

    def states(self, width: int) -> Indices:
        """int64 [sequences, width] in the batch's own order: the token row of each of `width` positions.

        Positions past a sequence's end are its last row, the padding token.
        """
        starts, ends = self.boundaries[:-1], self.boundaries[1:]
        rows = np.empty((len(self.order), width), np.int64)
        rows[self.order] = state_rows(starts, ends, width)
        return rows


def pack(sequences: Sequence[Ids], pad_id: int, width: int = 0) -> Packing:
    """Pack token ids (each int32 [n], n ≥ 1).

    With a `width`, a sequence shorter than it gets one padding token. Positions are XLM-RoBERTa's: a token
    counts the tokens that are not padding up to itself, plus pad_id; padding stands at pad_id.
    """
    lengths = np.array([len(ids) for ids in sequences], np.int64)
    order = np.argsort(lengths, kind="stable")
    tails = lengths < width
    sizes = (lengths + tails)[order]
    boundaries = np.zeros(len(sequences) + 1, np.int64)
    np.cumsum(sizes, out=boundaries[1:])
    ids = np.full(int(boundaries[-1]), pad_id, np.int32)
    groups: list[Group] = []
    for index, number in enumerate(order.tolist()):
        start, keys = int(boundaries[index]), int(lengths[number])
        ids[start : start + keys] = sequences[number]
        if groups and groups[-1].keys == keys:
            last = groups[-1]
            groups[-1] = Group(last.start, last.first, last.count + 1, last.rows, keys)
        else:
            groups.append(Group(start, index, 1, int(sizes[index]), keys))
    return Packing(ids, token_positions(ids, boundaries, pad_id), order, boundaries, tuple(groups))


def state_rows(starts: Indices, ends: Indices, width: int) -> Indices:
    """int64 [sequences, width]: the row of each of `width` positions, the last one's past the end.

    starts, ends: each sequence's rows, int64 [sequences].
    """
    rows: Indices = np.minimum(starts[:, None] + np.arange(width), ends[:, None] - 1)
    return rows


def token_positions(ids: Ids, boundaries: Indices, pad_id: int) -> Ids:
    """XLM-RoBERTa's position of each token of sequences laid end to end: see `pack`."""
    real = ids != pad_id
    counted = np.cumsum(real)
    before = np.concatenate([[0], counted])[boundaries[:-1]]
    counted -= np.repeat(before, np.diff(boundaries))
    positions: Ids = np.where(real, counted + pad_id, pad_id).astype(np.int32)
    return positions
