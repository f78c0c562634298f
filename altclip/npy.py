"""A matrix written to a .npy file row by row, so that millions of rows need no memory."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from altclip.results import Floats


class MatrixFile:
    """A float32 matrix in a file, for `numpy.load(path, mmap_mode="r")`; to be closed."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._rows = 0
        self._dimension = 0
        self._write_header()

    def append(self, row: Floats) -> int:
        """Writes a row and gives its number. Raises ValueError for a row of another width."""
        if self._rows == 0:
            self._dimension = len(row)
        if len(row) != self._dimension:
            raise ValueError(f"a row of {len(row)} in a matrix of {self._dimension} columns")
        self._file.write(row.astype("<f4").tobytes())
        self._rows += 1
        return self._rows - 1

    def close(self) -> None:
        """Writes how many rows there are."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # Always of one length: numpy pads headers to 64 bytes and leaves room for the number of rows to grow.
        shape = (self._rows, self._dimension)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
