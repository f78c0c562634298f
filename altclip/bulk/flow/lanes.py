"""One stream to one server: takes cells from the pool and brings their vectors back, for as long as there are
any.

A connection that breaks, a server that restarts, is full or goes away: what was under way goes back to the
pool, for this stream or another one, and this one tries again after a pause. Nothing else stops it but
patience, which the job keeps, and a refusal of key or model.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from altclip import inputs
from altclip.bulk.columns import Embedded, Shape
from altclip.bulk.flow.cells import content_of, reason_and_message
from altclip.bulk.flow.pool import Cell, Lane, Pool
from altclip.bulk.sources.locations import Location
from altclip.bulk.tries import LONGEST_PAUSE, PASSING, PAUSES, pause_after
from altclip.errors import AltClipError, Internal, Overloaded, RevisionChanged, Unavailable
from altclip.results import Model, StreamResult
from altclip.streams.ledger import StreamInput

WINDOW = 2048
"""Cells under way in a stream."""

NOT_KNOWN = "the service does not tell the revision of its weights and their dtype yet"
"""Of a service that is loading its model: it knows the revision before the dtype, or the dtype before."""


class Connection(Protocol):
    """What vectors come from, as `altclip.Client` has it."""

    def get_model(self, name: str) -> Model:
        """The model of this name, the first for an empty one. Raises AltClipError."""
        ...

    def embed_stream(
        self,
        items: Iterable[StreamInput],
        *,
        model: str = ...,
        encoding: inputs.Encoding = ...,
        orientation: inputs.Orientation = ...,
        priority: inputs.Priority = ...,
        window: int = ...,
    ) -> Generator[StreamResult]:
        """The vectors of these items, in any order, with the ids that they have. Raises AltClipError."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


@dataclass
class Times:
    """Seconds that one thing took, added up by one thread at a time."""

    seconds: float = 0.0

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Adds the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


@dataclass
class Stream:
    """What all streams of a job share.

    Attributes:
        pool: Where cells come from and go to.
        model: The model of the job.
        columns: The embedded columns.
        shape: What vectors are like.
        base: Paths in cells are relative to this folder.
        options: Further arguments of `Client.embed_stream`.
        tell: Told when a server cannot be used now, and for how many seconds.
        preparing: Time spent on making what is sent.
        last_trouble: Why a server, or an item of a stream, could not be used last.
    """

    pool: Pool
    model: Model
    columns: tuple[Embedded, ...]
    shape: Shape
    base: Location
    options: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[AltClipError, float], object] = lambda error, pause: None
    preparing: Times = field(default_factory=Times)
    last_trouble: AltClipError | None = None
    _told: set[str] = field(default_factory=set)
    """Reasons of items that were told. Thousands of items may have one reason."""

    def run(self, client: Connection) -> None:
        """Works until the pool is over. Whatever goes wrong for good stops the pool."""
        failures = 0
        try:
            while not self.pool.over:
                lane = Lane()
                try:
                    self._check_model(client)
                    self._one_stream(client, lane)
                    return
                except PASSING as error:
                    if self.pool.finished or self.pool.error is not None:  # this may be what ended it
                        return
                    failures = 0 if lane.done else failures
                    pause = pause_after(failures, error.retry_after)
                    failures += 1
                    self.last_trouble = error
                    self.tell(error, pause)
                    self.pool.wait_over(pause)
        except BaseException as error:
            self.pool.stop(error)

    def _check_model(self, client: Connection) -> None:
        """Raises RevisionChanged where a server computes in another dtype, which its vectors do not tell, and
        Unavailable where it does not know its dtype yet."""
        found = client.get_model(self.model.name).dtype
        if found == self.model.dtype:
            return
        if not found:
            raise Unavailable(NOT_KNOWN)
        raise RevisionChanged(
            f"a service computes {self.model.name!r} in {found}, and the vectors of this job are computed in "
            f"{self.model.dtype}: both must not be mixed"
        )

    def _one_stream(self, client: Connection, lane: Lane) -> None:
        """One stream, until the pool has nothing more for it."""
        results = client.embed_stream(
            self._items(lane),
            model=self.model.name,
            priority="bulk",
            window=WINDOW,
            **self.options,  # type: ignore[arg-type]  # checked words
        )
        try:
            for result in results:
                self._take(lane, result)
        finally:
            self.pool.end(lane)
            results.close()

    def _items(self, lane: Lane) -> Iterator[StreamInput]:
        """Runs in the stream's own thread. Raises what ended the work early, so that the stream does not wait
        for what is under way."""
        while (cell := self.pool.take(lane)) is not None:
            with self.preparing.measured():
                column = self.columns[cell.column]
                content = content_of(cell.block, cell.row, column, self.base, self.model.limits)
            yield cell, content
        if self.pool.error is not None:
            raise self.pool.error

    def _take(self, lane: Lane, result: StreamResult) -> None:
        cell = result.id
        if not isinstance(cell, Cell):
            raise TypeError(f"a stream gave an id that is none of ours: {cell!r}")
        error = result.error
        if error is None:
            error = self._fault(result)
        if error is None:
            self._store(cell, result)
            self.pool.done_with(lane, cell)
        elif not self._again(lane, cell, error):
            self.pool.fail(lane, cell, *reason_and_message(error, self.columns[cell.column]))

    def _again(self, lane: Lane, cell: Cell, error: AltClipError) -> bool:
        if not isinstance(error, PASSING):
            return False
        pause = PAUSES[0] if error.retry_after is None else min(error.retry_after, LONGEST_PAUSE)
        its_own: bool | None = None  # it may have ended the worker that computed it
        if isinstance(error, Internal | Overloaded):
            its_own = isinstance(error, Internal)  # no cell fills a queue
        if not its_own:
            self.last_trouble = error
            if error.reason not in self._told:
                self._told.add(error.reason)
                self.tell(error, pause)
        return self.pool.again(lane, cell, pause, its_own=its_own)

    def _fault(self, result: StreamResult) -> AltClipError | None:
        """What is wrong with a vector. Raises RevisionChanged."""
        if result.revision and result.revision != self.model.revision:
            raise RevisionChanged(
                f"the service changed the weights of {self.model.name!r} from {self.model.revision} to "
                f"{result.revision}, and vectors of both must not be mixed"
            )
        if not result.revision:
            return Unavailable(NOT_KNOWN)
        embeddings = result.embeddings
        if embeddings is None or embeddings.codes.shape[1] != self.shape.width:
            return Internal(f"the service gave no vector of {self.shape.width} numbers")
        finite = np.isfinite(embeddings.codes).all() and np.isfinite(embeddings.scales).all()
        return None if finite else Internal("the service gave a vector that is not finite")

    def _store(self, cell: Cell, result: StreamResult) -> None:
        vectors = cell.block.vectors[cell.column]
        embeddings = result.embeddings
        if embeddings is None:
            raise TypeError("a result without a vector is an error")
        vectors.codes[cell.row] = embeddings.codes[0]
        if len(embeddings.scales):
            vectors.scales[cell.row] = embeddings.scales[0]
        vectors.tokens[cell.row] = result.token_count
        vectors.truncated[cell.row] = result.truncated
        vectors.done[cell.row] = True
