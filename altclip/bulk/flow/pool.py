"""The cells under way between the reader, the streams and the writer. Everything that decides about them is
here, behind one lock; no I/O.

    reader ─ add ─▶ waiting cells ─ take ─▶ streams ─ done, fail, again ─▶ whole blocks ─▶ writer

Blocks leave in the order in which they came. There is room for so many rows and bytes between reader and
writer, whatever happens: one cell that is late cannot make memory grow.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from altclip.bulk.blocks import Block, Failure
from altclip.errors import AltClipError

ROOM_ROWS, ROOM_BYTES = 8 << 10, 64 << 20
MOST_TRIES = 5
"""How often a cell is tried."""


@dataclass(eq=False, slots=True)
class Cell:
    """One cell that is to be embedded: its block, its row in it, and which embedded column."""

    block: Block
    row: int
    column: int
    tries: int = 0
    seen: int = 0
    """How many vectors its stream had brought when it was taken."""


@dataclass(eq=False, slots=True)
class Lane:
    """One stream's cells under way, and how many vectors it has brought. A lane that has ended takes no
    more."""

    cells: set[Cell] = field(default_factory=set)
    done: int = 0
    ended: bool = False


class Pool:
    """See the module. names: of the embedded columns. clock: seconds, monotonic."""

    def __init__(
        self, names: list[str], most_errors: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names
        self._most_errors = most_errors
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._whole = threading.Condition(self._lock)
        self._waiting: deque[Cell] = deque()
        self._later: list[tuple[float, int, Cell]] = []
        self._number = itertools.count()
        self._blocks: deque[Block] = deque()
        self._rows = self._bytes = 0
        self._all_read = False
        self._under_way = 0
        self._moved = clock()
        self.done = 0
        """Cells that were done or have failed since the start."""
        self.failed_rows = 0
        self.error: BaseException | None = None
        self.finished = False

    # The reader's side.

    def add(self, block: Block, cells: list[tuple[int, int]]) -> bool:
        """Adds a block and its cells (row, column) that are to be embedded, as soon as there is room. False
        where the work has ended."""
        size = block.batch.nbytes
        with self._lock:
            while self._blocks and not self.over:
                if self._rows + len(block) <= ROOM_ROWS and self._bytes + size <= ROOM_BYTES:
                    break
                self._room.wait()
            if self.over:
                return False
            block.missing = len(cells)
            self._blocks.append(block)
            self._rows += len(block)
            self._bytes += size
            self._waiting.extend(Cell(block, row, column) for row, column in cells)
            self._work.notify_all()
            self._whole.notify_all()
            return True

    def end_of_input(self) -> None:
        """No more blocks come."""
        with self._lock:
            self._all_read = True
            self._wake()

    # The streams' side.

    def take(self, lane: Lane) -> Cell | None:
        """The next cell, when there is one; None where none will come for this lane."""
        with self._lock:
            while not (lane.ended or self.over):
                now = self._clock()
                while self._later and self._later[0][0] <= now:
                    self._waiting.appendleft(heapq.heappop(self._later)[2])
                if self._waiting:
                    cell = self._waiting.popleft()
                    cell.seen = lane.done
                    lane.cells.add(cell)
                    self._under_way += 1
                    return cell
                if self._all_read and not self._later and not any(block.missing for block in self._blocks):
                    return None
                self._work.wait(self._later[0][0] - now if self._later else None)
            return None

    def done_with(self, lane: Lane, cell: Cell) -> None:
        """The cell's vector is in its block."""
        with self._lock:
            lane.done += 1
            self._close(lane, cell)

    def fail(self, lane: Lane, cell: Cell, reason: str, message: str) -> None:
        """The cell has no vector, for good."""
        with self._lock:
            block = cell.block
            row = block.first + cell.row
            if all(each.row != row for each in block.failures):
                self.failed_rows += 1
            block.failures.append(Failure(row, self._names[cell.column], reason, message))
            self._close(lane, cell)
            if self._most_errors is not None and self.failed_rows >= max(self._most_errors, 1):
                self._stop(TooManyErrors(self.failed_rows))

    def again(self, lane: Lane, cell: Cell, seconds: float, *, its_own: bool | None) -> bool:
        """Tries the cell once more after so many seconds. False where it has been tried often enough.

        its_own: Whether the fault is the cell's, so that the try counts. None where nobody knows: then it
            counts where the same stream brought vectors of others meanwhile. What other streams bring says
            nothing, for their servers are other ones.
        """
        with self._lock:
            if its_own or (its_own is None and lane.done != cell.seen):
                cell.tries += 1
            if cell.tries >= MOST_TRIES:
                return False
            self._leave(lane, cell)
            heapq.heappush(self._later, (self._clock() + seconds, next(self._number), cell))
            self._work.notify_all()
            return True

    def end(self, lane: Lane) -> int:
        """The stream has ended: what it had under way goes back. Returns how many cells that were."""
        with self._lock:
            lane.ended = True
            cells = sorted(lane.cells, key=lambda each: (each.block.first, each.row), reverse=True)
            for cell in cells:
                self._leave(lane, cell)
                self._waiting.appendleft(cell)
            self._work.notify_all()
            return len(cells)

    def idle_seconds(self) -> float:
        """For how long nothing was done, although cells are under way or wait for a stream."""
        with self._lock:
            if not (self._under_way or self._waiting or self._later):
                self._moved = self._clock()
            return self._clock() - self._moved

    # The writer's side.

    def next_whole(self) -> Block | None:
        """The next block without missing cells, when it is whole; None where none will come."""
        with self._lock:
            while self.error is None:
                if self._blocks and not self._blocks[0].missing:
                    return self._blocks[0]
                if self._all_read and not self._blocks:
                    return None
                self._whole.wait()
            return None

    def written(self, block: Block) -> None:
        """Makes room."""
        with self._lock:
            self._blocks.popleft()
            self._rows -= len(block)
            self._bytes -= block.batch.nbytes
            self._room.notify_all()

    # Everyone's.

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.finished or self.error is not None

    def stop(self, error: BaseException) -> None:
        """Ends the work; the first error counts."""
        with self._lock:
            self._stop(error)

    def finish(self) -> None:
        """Everything is written."""
        with self._lock:
            self.finished = True
            self._wake()

    def wait_over(self, seconds: float) -> bool:
        """Waits until the work is over, for so long at most."""
        with self._lock:
            self._whole.wait_for(lambda: self.over, seconds)
            return self.over

    def _close(self, lane: Lane, cell: Cell) -> None:
        self._leave(lane, cell)
        self.done += 1
        self._moved = self._clock()
        cell.block.missing -= 1
        if not cell.block.missing:
            self._whole.notify_all()
            if self._all_read:
                self._work.notify_all()

    def _leave(self, lane: Lane, cell: Cell) -> None:
        lane.cells.discard(cell)
        self._under_way -= 1

    def _stop(self, error: BaseException) -> None:
        if not self.over:
            self.error = error
        self._wake()

    def _wake(self) -> None:
        for condition in (self._work, self._room, self._whole):
            condition.notify_all()


class TooManyErrors(AltClipError):
    """`--max-errors` was reached.

    >>> bulk.run("images.jsonl", "vectors", client=client, max_errors=1)
    Traceback (most recent call last):
    altclip.bulk.flow.pool.TooManyErrors: ...
    """

    def __init__(self, count: int, what: str = "rows") -> None:
        super().__init__(f"stopped because of --max-errors: {count} {what} failed")
