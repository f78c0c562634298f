"""Rows of numbers on disk that an interrupted evaluation finds again: embeddings, or ranks.

    WORK/m9-0123456789abcdef-float32/images-5f3a…/values.npy   one row for each item, memory-mapped
                                                 marks.npy    for each row a hash of what it was made from
                                                 about.json   the model's revision, the data, for people

A row is done when its mark is the mark of the item that belongs there now. So a changed picture or text is
computed again, and a folder belongs to one revision of one model. A row is written to disk before its mark.
One process at a time may use a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
import numpy.typing as npt

from altclip.datasets.items import DataError
from altclip.output import OutputError, whole_file
from altclip.printing import json_text

COMMIT_SECONDS = 5.0
"""How much work a crash can cost."""

Array = np.memmap[Any, np.dtype[Any]]

MARK = np.dtype([("mark", "<u8"), ("cut", "u1")])


class Store:
    """The rows of one kind; use it in a `with` block.

    Args:
        folder: Made where it is missing.
        marks: The items' marks, each not 0.
        width: Numbers in a row.
        kind: Their type.
        about: What the rows are; a folder that says otherwise is refused.
    """

    def __init__(
        self, folder: Path, marks: Sequence[int], width: int, kind: npt.DTypeLike, about: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self._wanted = np.array(marks, np.uint64)
        self._pending: dict[int, bool] = {}
        self._committed = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder)
        try:
            _check_about(folder / "about.json", about)
            self.values, self._marks = self._open((len(marks), width), np.dtype(kind))
        except BaseException:
            self._lock.close()
            raise
        # A row that is about to be written must not be taken for what stood there, whatever happens.
        self._marks[self._marks["mark"] != self._wanted] = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()
        self._lock.close()

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: which rows are there."""
        found: npt.NDArray[np.bool_] = self._marks["mark"] == self._wanted
        found[list(self._pending)] = True
        return found

    @property
    def cut(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: which rows are of texts that were cut."""
        self.commit()
        found: npt.NDArray[np.bool_] = self._marks["cut"] > 0
        return found & self.done

    def put(self, row: int, value: npt.ArrayLike, *, cut: bool = False) -> None:
        """Sets a row; it is durable some seconds later."""
        self.values[row] = value
        self._pending[row] = cut
        if time.monotonic() > self._committed + COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes all rows durable."""
        if self._pending:
            self.values.flush()
            rows = list(self._pending)
            self._marks["cut"][rows] = list(self._pending.values())
            self._marks["mark"][rows] = self._wanted[rows]
            self._marks.flush()
            self._pending.clear()
        self._committed = time.monotonic()

    def _open(self, shape: tuple[int, int], kind: np.dtype[Any]) -> tuple[Array, Array]:
        """The values and their marks: those in the folder, or new ones."""
        values_file, marks_file = self.folder / "values.npy", self.folder / "marks.npy"
        values, marks = _load(values_file, shape, kind), _load(marks_file, shape[:1], MARK)
        if values is not None and marks is not None:
            return values, marks
        marks_file.unlink(missing_ok=True)  # first, so that no mark outlives its row
        return _made(values_file, shape, kind), _made(marks_file, shape[:1], MARK)


class Selected:
    """Some rows of an array, read when they are asked for, so that a memory-mapped file stays on disk."""

    def __init__(self, values: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
        self._values = values
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64], /) -> npt.NDArray[Any]:
        return np.asarray(self._values[self._rows[rows]])


def _locked(folder: Path) -> TextIO:
    """A file that only one process can hold open so. Raises DataError."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DataError(f"{folder}: in use by another evaluation") from None
    return file


def _load(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array | None:
    """The array in this file; None where there is none of this shape and type."""
    try:
        found = np.load(path, mmap_mode="r+", allow_pickle=False)
    except (OSError, ValueError):
        return None  # missing, or cut short while it was made
    if not isinstance(found, np.memmap):
        return None
    return found if found.shape == shape and found.dtype == kind else None


def _made(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    """A new array of zeros in this file. Raises OutputError where the disk has no room for it."""
    try:
        array = np.lib.format.open_memmap(path, "w+", kind, shape)
        with path.open("r+b") as file:
            # A page of a mapped file that finds no room when it is written ends the process.
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)  # the next run would take it for one that has its room
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    return array


def _check_about(path: Path, about: Mapping[str, str]) -> None:
    wanted = dict(about)
    try:
        found = json.loads(path.read_text("utf-8")) if path.exists() else None
    except ValueError:
        found = None
    if found is None:
        with whole_file(path) as file:
            file.write(f"{json_text(wanted, 2, 'utf-8')}\n".encode())
    elif found != wanted:
        raise DataError(
            f"{path}: these are rows of something else; remove the folder, or give another --work"
        )
