"""The threads of a run: a reader, a stream to each server, a writer; `pool.Pool` stands between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from altclip.bulk.blocks import Block, Earlier, Vectors, cut
from altclip.bulk.flow.lanes import Connection, Stream, Times
from altclip.bulk.flow.pool import Pool
from altclip.bulk.flow.work import Keep, Work
from altclip.bulk.output.parts import PartWriter
from altclip.bulk.output.reading import read_earlier
from altclip.bulk.plan import Task, runs
from altclip.bulk.sources.locations import Location
from altclip.datasets.items import DataError
from altclip.errors import Unavailable

if TYPE_CHECKING:
    import pyarrow as pa

JOIN_SECONDS = 10.0
"""How long a run that ends waits for threads that read, or that stream."""
LOOK_SECONDS = 0.2


@dataclass
class Pipeline:
    """One run.

    Attributes:
        work: What the parts have in common.
        tasks: The parts to make.
        folder: Where they are written.
        stream: How cells become vectors.
        keep: Called for each part that is whole.
    """

    work: Work
    tasks: Sequence[Task]
    folder: Location
    stream: Stream
    keep: Keep
    reading: Times = field(default_factory=Times)
    writing: Times = field(default_factory=Times)

    @property
    def pool(self) -> Pool:
        """What stands between the threads."""
        return self.stream.pool

    def run(self, connections: Sequence[Connection], look: Callable[[], object]) -> None:
        """Makes all parts. Calls `look` now and then. Raises what ended the run early; of parts that were not
        kept by then nothing is left."""
        works: list[Callable[[], object]] = [self._write, self._read]
        works += [lambda each=each: self.stream.run(each) for each in connections]  # type: ignore[misc]
        writer, *others = [
            threading.Thread(target=self._guarded, args=(work,), name="altclip-bulk", daemon=True)
            for work in works
        ]
        try:
            for thread in (writer, *others):
                thread.start()
            while not self.pool.wait_over(LOOK_SECONDS):
                look()
                if self.pool.idle_seconds() > self.work.patience:
                    error = self.stream.last_trouble or Unavailable("the service does not answer")
                    self.pool.stop(error)
        except BaseException as error:
            self.pool.stop(error)
            raise
        finally:
            # However long its last file takes: another run may begin when this one has returned.
            if writer.is_alive():
                writer.join()
            end = time.monotonic() + JOIN_SECONDS
            for thread in others:
                if thread.is_alive():
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
            empty = pa.RecordBatch.from_pylist([], schema=self.work.source.schema)
            return self._add(run[0], run[0].first, empty)
        pieces = self._measured(cut(self.work.source.batches(run[0].first), run[0].first, self.work.size))
        part, earlier = -1, None
        for first, batch in pieces:
            task = wanted.get(first // self.work.size)
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
        work = self.work
        return read_earlier(work.output, work.manifest, task.earlier, retry=work.retry)

    def _add(self, task: Task, first: int, batch: pa.RecordBatch, earlier: Earlier | None = None) -> bool:
        vectors = [Vectors(len(batch), self.work.shape) for _ in self.work.columns]
        block = Block(task.number, first, batch, vectors, unreadable=self.work.source.unreadable)
        todo = np.arange(len(batch)) if earlier is None else np.flatnonzero(~earlier.fill(block))
        cells = [(row, column) for row in todo.tolist() for column in range(len(vectors))]
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
                        part, writer = writer.commit(), None
                        self.keep(part)
                self.pool.written(block)
            if self.pool.error is None:
                self.pool.finish()
        finally:
            if writer is not None:
                writer.discard()

    def _writer(self, task: Task) -> PartWriter:
        work = self.work
        return PartWriter(
            self.folder,
            task.number,
            task.first,
            work.schema,
            work.columns,
            work.shape,
            work.identity,
            work.manifest.layout,
        )

    def times(self, seconds: float) -> dict[str, float]:
        """Where the time went. Reading, preparing and writing go on beside each other; for the server was
        waited when none of them was at work."""
        busy = {
            "reading": self.reading.seconds,
            "preparing": self.stream.preparing.seconds,
            "writing": self.writing.seconds,
        }
        return busy | {"server": max(0.0, seconds - max(busy.values()))}
