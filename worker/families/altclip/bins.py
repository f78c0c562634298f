"""How the texts of a batch lie side by side in bins of equal length. Pure; needs numpy only.

A device of many small processors attends within all bins at once, as it does within images, and a mask keeps
the texts of a bin apart. Its kernel for sequences of any lengths, by contrast, gives each text a block of
processors that would do for 128 tokens: of 15 tokens on average.

    ids        a a a a a a b b b c c .  d d d d d d d e e e e .     two bins of 12 rows
    asking     1 1 1 1 1 1 2 2 2 3 3 0  4 4 4 4 4 4 4 5 5 5 5 0     0: no text's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from worker.families.altclip.packing import state_rows, token_positions

__all__ = ["Rows", "fit", "flat_size", "lay", "sizes", "split", "states"]

Ids = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """int32 [rows] each, parts of one array. firsts: int32 [room], each sequence's first row, in their order.

    asking, asked: the number of the sequence, from 1, that a row belongs to and that may attend to it.
    """

    ids: Any
    positions: Any
    asking: Any
    asked: Any
    firsts: Any


def fit(sizes: Sequence[int], length: int) -> tuple[int, Indices]:
    """Sequences of these sizes, none larger than `length`, into few bins: the longest first, each into the
    fullest bin that has room for it. How many bins, and the row, through all bins, where each starts."""
    starts = np.empty(len(sizes), np.int64)
    count = 0
    # Where the bins go on, by the rows that they have left.
    with_room: list[list[int]] = [[] for _ in range(length + 1)]
    some = 0  # bit n: there is one with n rows left
    for number in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        size = sizes[number]
        enough = some >> size
        if enough:
            left = size + (enough & -enough).bit_length() - 1
            start = with_room[left].pop()
            if not with_room[left]:
                some ^= 1 << left
        else:
            left, start = length, count * length
            count += 1
        starts[number] = start
        left -= size
        with_room[left].append(start + size)
        some |= 1 << left
    return count, starts


def flat_size(rows: int, room: int) -> int:
    """How many numbers `Rows` of one array are."""
    return 4 * rows + room


def split(flat: Any, rows: int) -> Rows:
    """The parts of an array or a tensor, without a copy."""
    ids, positions, asking, asked = (flat[number * rows : (number + 1) * rows] for number in range(4))
    return Rows(ids, positions, asking, asked, flat[4 * rows :])


def sizes(sequences: Sequence[Ids], width: int = 0) -> list[int]:
    """How many rows each takes. With a `width`, a sequence shorter than it gets one padding token at its end,
    which asks but is never asked and stands for all of its padding (see `pack`)."""
    return [len(ids) + (len(ids) < width) for ids in sequences]


def lay(sequences: Sequence[Ids], starts: Indices, pad_id: int, into: Rows, width: int = 0) -> None:
    """Writes sequences to where `fit` put them. Rows of none hold token 0 and are number 0; so are firsts."""
    for part in into:
        part[:] = 0
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    numbers = np.arange(1, len(lengths) + 1)
    boundaries = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate(sequences)
    rows = np.repeat(starts - boundaries[:-1], lengths) + np.arange(len(ids))
    into.ids[rows] = ids
    into.positions[rows] = token_positions(ids, boundaries, pad_id)
    into.asking[rows] = into.asked[rows] = np.repeat(numbers, lengths)
    into.firsts[: len(starts)] = starts
    short = lengths < width
    tails = (starts + lengths)[short]
    into.ids[tails] = into.positions[tails] = pad_id
    into.asking[tails] = numbers[short]


def states(starts: Indices, sizes: Sequence[int], width: int) -> Indices:
    """int64 [sequences, width]: see `state_rows`."""
    return state_rows(starts, starts + np.array(sizes), width)
