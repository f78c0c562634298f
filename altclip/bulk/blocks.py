"""Rows under way: a block is some rows of one part, and what has become of each of their cells.

Blocks end where the source's batches end, where a part ends, and after so many bytes, whatever a machine or a
server does: so a part is the same file after any number of interruptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from altclip.bulk.columns import DTYPES, Shape

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell of a row has no vector. reason: as in the API's errors, or UNREADABLE_INPUT."""

    row: int
    column: str
    reason: str
    message: str


class Vectors:
    """The vectors of one column in one block."""

    def __init__(self, rows: int, shape: Shape) -> None:
        self.codes: npt.NDArray[Any] = np.zeros((rows, shape.width), DTYPES[shape.encoding])
        self.scales = np.zeros(rows, np.float32)
        self.tokens = np.zeros(rows, np.int32)
        self.truncated = np.zeros(rows, np.bool_)
        self.done = np.zeros(rows, np.bool_)


@dataclass
class Block:
    """Some rows of one part.

    Attributes:
        part: The part's number.
        first: The place of the first row in the whole input.
        batch: The rows.
        vectors: Of each embedded column.
        failures: Cells that have none.
        missing: How many cells are not yet done.
        unreadable: Rows of the input that cannot be read, and why.
    """

    part: int
    first: int
    batch: pa.RecordBatch
    vectors: list[Vectors]
    failures: list[Failure] = field(default_factory=list)
    missing: int = 0
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.batch)


@dataclass
class Earlier:
    """What an earlier run made of rows of a part.

    Attributes:
        rows: The rows that have vectors, ascending.
        vectors: Of each embedded column, in the order of `rows`.
        failures: The rows that failed; empty where they are tried again.
    """

    rows: npt.NDArray[np.int64]
    vectors: list[Vectors]
    failures: dict[int, list[Failure]]

    def fill(self, block: Block) -> npt.NDArray[np.bool_]:
        """Takes over what is known. Returns bool [rows of the block]: which rows are known."""
        places = np.arange(block.first, block.first + len(block))
        at = np.searchsorted(self.rows, places)
        known = at < len(self.rows)
        known[known] = self.rows[at[known]] == places[known]
        for mine, theirs in zip(block.vectors, self.vectors, strict=True):
            for name in ("codes", "scales", "tokens", "truncated"):
                getattr(mine, name)[known] = getattr(theirs, name)[at[known]]
            mine.done[known] = True
        for n, row in enumerate(places.tolist()):
            if row in self.failures:
                block.failures += self.failures[row]
                known[n] = True
        return known


def cut(batches: Iterable[pa.RecordBatch], first: int, size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cuts the batches of a source, of which the first begins at row `first`, where a part of `size` rows
    ends and where the bytes are enough for a block. Gives each with its first row."""
    for batch in batches:
        bytes_before = np.concatenate([[0], np.cumsum(_bytes(batch))])
        start = 0
        while start < len(batch):
            enough = int(np.searchsorted(bytes_before, bytes_before[start] + BLOCK_BYTES))
            stop = min(max(enough, start + 1), start + size - first % size, len(batch))
            yield first, batch.slice(start, stop - start)
            first += stop - start
            start = stop


def _bytes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """int64 [rows]: about how many bytes each row has."""
    total = np.full(len(batch), 8 * batch.num_columns, np.int64)
    for column in batch.columns:
        total += _lengths(column)
    return total


def _lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = np.append(_lengths(array.dictionary), 0)  # 0: of a null
        places = pc.fill_null(array.indices.cast(pa.int64()), len(array.dictionary))
        return lengths[np.asarray(places.to_numpy(zero_copy_only=False), np.int64)]
    if pa.types.is_struct(kind):
        fields = (_lengths(array.field(n)) for n in range(kind.num_fields))
        return sum(fields, np.zeros(len(array), np.int64))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_bytes(kind):
        return np.asarray(pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False), np.int64)
    return np.zeros(len(array), np.int64)


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
