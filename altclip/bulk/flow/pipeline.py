"""The threads of a run: a reader, a stream to each server, a writer; `pool.Pool` stands between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from altclip.bulk.blocks import Block, Earlier, Vectors, cut
from altclip.bulk.columns import Embedded, Shape
from altclip.bulk.flow.lanes import Stream, Times
from altclip.bulk.flow.pool import Pool
from altclip.bulk.output.folder import Folder
from altclip.bulk.output.manifest import DONE, Manifest
from altclip.bulk.output.parts import PartWriter
from altclip.bulk.output.reading import read_earlier
from altclip.bulk.plan import Task, runs
from altclip.bulk.sources.source import Source
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.errors import Unavailable

if TYPE_CHECKING:
    import pyarrow as pa

JOIN_SECONDS = 10.0
LOOK_SECONDS = 0.2


@dataclass
class Pipeline:
    """One run.

    Attributes:
        source: What is read.
        folder: What is written; its manifest is `manifest`, which grows with every part.
        tasks: The parts to make.
        size: Rows of the input in a part.
        schema: Of the parts.
        stream: How cells become vectors.
        identity: The column with the keys of the errors table.
        retry: Whether rows that failed are tried again.
    """

    source: Source
    folder: Folder
    manifest: Manifest
    tasks: Sequence[Task]
    size: int
    schema: pa.Schema
    stream: Stream
    identity: str | None
    retry: bool
    reading: Times = field(default_factory=Times)
    writing: Times = field(default_factory=Times)
    handled: int = 0
    """Rows that this run has written or put into errors tables."""

    @property
    def pool(self) -> Pool:
        """What stands between the threads."""
        return self.stream.pool

    @property
    def columns(self) -> tuple[Embedded, ...]:
        """The embedded columns."""
        return self.stream.columns

    @property
    def shape(self) -> Shape:
        """What vectors are like."""
        return self.stream.shape

    def run(self, clients: Sequence[Client], patience: float, look: Callable[[], object]) -> None:
        """Makes all parts. Calls `look` now and then. Raises what ended the run early; parts that are whole
        by then are in the manifest, and nothing of others is left."""
        works: list[Callable[[], object]] = [self._read, self._write]
        works += [lambda client=client: self.stream.run(client) for client in clients]  # type: ignore[misc]
        threads = [
            threading.Thread(target=self._guarded, args=(work,), name="altclip-bulk", daemon=True)
            for work in works
        ]
        try:
            for thread in threads:
                thread.start()
            while not self.pool.wait_over(LOOK_SECONDS):
                look()
                if self.pool.idle_seconds() > patience:
                    error = self.stream.last_trouble or Unavailable("the service does not answer")
                    self.pool.stop(error)
        except BaseException as error:
            self.pool.stop(error)
            raise
        finally:
            end = time.monotonic() + JOIN_SECONDS
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        if self.pool.error is not None:
            raise self.pool.error

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self.pool.stop(error)

    def _read(self) -> None:
        for run in runs(list(self.tasks)):
            if not self._read_run(run):
                return
        self.pool.end_of_input()

    def _read_run(self, run: list[Task]) -> bool:
        """Adds the rows of parts that follow each other; false where the work has ended."""
        import pyarrow as pa

        wanted = {task.number: task for task in run}
        expected = sum(task.rows for task in run)
        if not expected:  # a part of an input without rows is written, too
            empty = pa.RecordBatch.from_pylist([], schema=self.source.schema)
            return self._add(run[0], run[0].first, empty)
        pieces = self._measured(cut(self.source.batches(run[0].first), run[0].first, self.size))
        part, earlier = -1, None
        for first, batch in pieces:
            task = wanted.get(first // self.size)
            if task is None:
                break
            if task.number != part:
                part, earlier = task.number, self._earlier(task)
            if not self._add(task, first, batch, earlier):
                return False
            expected -= len(batch)
            if not expected:
                break
        if expected:
            raise DataError(f"the input changed while it was read: {expected} rows are missing")
        return True

    def _measured(self, pieces: Iterator[tuple[int, pa.RecordBatch]]) -> Iterator[tuple[int, pa.RecordBatch]]:
        while True:
            with self.reading.measured():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _earlier(self, task: Task) -> Earlier | None:
        if task.earlier is None:
            return None
        return read_earlier(self.folder.path, self.manifest, task.earlier, retry=self.retry)

    def _add(self, task: Task, first: int, batch: pa.RecordBatch, earlier: Earlier | None = None) -> bool:
        block = Block(task.number, first, batch, [Vectors(len(batch), self.shape) for _ in self.columns])
        todo = np.arange(len(batch)) if earlier is None else np.flatnonzero(~earlier.fill(block))
        cells = [(row, column) for row in todo.tolist() for column in range(len(self.columns))]
        return self.pool.add(block, cells)

    def _write(self) -> None:
        wanted = {task.number: task for task in self.tasks}
        writer: PartWriter | None = None
        rows = 0
        try:
            while (block := self.pool.next_whole()) is not None:
                task = wanted[block.part]
                with self.writing.measured():
                    if writer is None:
                        writer, rows = self._writer(task), 0
                    writer.add(block)
                    rows += len(block)
                    if rows == task.rows:
                        self.manifest = self.manifest.with_part(writer.commit())
                        writer = None
                        self.folder.save(self.manifest)
                        self.handled += rows
                self.pool.written(block)
            if self.pool.error is None:
                self.manifest = replace(self.manifest, state=DONE)
                self.folder.save(self.manifest)
                self.pool.finish()
        finally:
            if writer is not None:
                writer.discard()

    def _writer(self, task: Task) -> PartWriter:
        return PartWriter(
            self.folder.path,
            task.number,
            task.first,
            self.schema,
            self.columns,
            self.shape,
            self.identity,
            self.manifest.layout,
        )
