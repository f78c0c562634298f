"""`--dry-run`: reads the whole input, embeds a sample of it, and tells how long a run would take. Writes
nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from altclip.bulk.blocks import Block
from altclip.bulk.columns import Embedded
from altclip.bulk.flow.cells import content_of
from altclip.bulk.flow.lanes import Connection
from altclip.bulk.sources.source import Source
from altclip.datasets.items import DataError
from altclip.results import Model
from altclip.streams.ledger import StreamInput

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS, SAMPLE_BYTES = 1024, 64 << 20
"""The sample is in memory. It ends with the batch that makes it larger."""


@dataclass(frozen=True)
class Rehearsal:
    """What a run would meet.

    Attributes:
        rows: Of the input.
        reading: Seconds to read it.
        sample: Rows that were embedded.
        failed: Cells of the sample that have no vector.
        rows_per_second: Of the sample, on one server.
    """

    rows: int
    reading: float
    sample: int
    failed: int
    rows_per_second: float

    @property
    def seconds(self) -> float:
        """How long a run is expected to take."""
        embedding = self.rows / self.rows_per_second if self.rows_per_second else 0.0
        return max(self.reading, embedding)


def rehearse(
    source: Source, columns: Sequence[Embedded], client: Connection, model: Model, options: dict[str, str]
) -> Rehearsal:
    """Reads everything and embeds the first rows. Raises DataError, and AltClipError."""
    start = time.perf_counter()
    count = size = 0
    sample: list[pa.RecordBatch] = []
    for batch in source.batches(0):
        room = SAMPLE_ROWS - count
        if room > 0 and size < SAMPLE_BYTES:
            sample.append(batch.slice(0, room))
            size += batch.nbytes
        count += len(batch)
    if count != source.rows:
        raise DataError(f"the input changed while it was read: {count} rows instead of {source.rows}")
    reading = time.perf_counter() - start

    def contents() -> Iterator[StreamInput]:
        first = 0
        for batch in sample:
            block = Block(0, first, batch, [], unreadable=source.unreadable)
            first += len(batch)
            for row in range(len(batch)):
                for column in columns:
                    yield content_of(block, row, column, source.base, model.limits)

    start = time.perf_counter()
    failed = 0
    results = client.embed_stream(
        contents(),
        model=model.name,
        priority="bulk",
        **options,  # type: ignore[arg-type]  # checked words
    )
    with contextlib.closing(results):
        for result in results:
            failed += result.error is not None
    seconds = time.perf_counter() - start
    rows = sum(map(len, sample))
    return Rehearsal(count, reading, rows, failed, rows / seconds if rows else 0.0)
