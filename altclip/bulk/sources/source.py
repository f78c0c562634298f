"""What every kind of input is once it is opened: a schema, a number of rows, and batches of them from any row
on. Where batches end depends on the input alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from altclip.bulk.sources.locations import Location
from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1024
BATCH_BYTES = 32 << 20
"""A batch ends with the row that makes it larger, or, where rows cannot be measured before they are read, has
as many rows of average size."""

NONE_UNREADABLE: Mapping[int, str] = {}


def changed(path: Location) -> DataError:
    """The error of a file that has not the rows that it had when it was opened: those of the files behind it
    would be taken for other ones."""
    return DataError(f"{path}: has other rows than before: it changed while it was read")


class Source(Protocol):
    """An opened input.

    Attributes:
        schema: The columns; those in `hidden` are embedded, but not written.
        rows: How many rows there are.
        unreadable: Rows that cannot be read, by their place, and why. Those of a batch are in it when the
            batch is there.
        base: Paths in the input are relative to this folder.
    """

    schema: pa.Schema
    hidden: frozenset[str]
    rows: int
    unreadable: Mapping[int, str]
    base: Location

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from this one on, in order: of each file as many as it had when it was opened. Raises
        DataError for what cannot be read, and for a file that has not so many any more."""
        ...
