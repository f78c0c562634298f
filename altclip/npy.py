"""A matrix written to a .npy file row by row, so that millions of rows need no memory."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from altclip.output import OutputFile
from altclip.results import Floats


class MatrixFile:
    """A float32 matrix for `numpy.load(path, mmap_mode="r")`. End it with `commit` or `keep`.

    Raises OutputError, as all methods do.
    """

    def __init__(self, path: Path) -> None:
        self._output = OutputFile(path)
        self._rows = 0
        self._dimension = 0
        self._write_header()

    def append(self, row: Floats) -> int:
        """Writes a row and gives its number. Raises ValueError for a row of another width."""
        if self._rows == 0:
            self._dimension = len(row)
        if len(row) != self._dimension:
            raise ValueError(f"a row of {len(row)} in a matrix of {self._dimension} columns")
        self._output.write(row.astype("<f4").tobytes())
        self._rows += 1
        return self._rows - 1

    def commit(self) -> None:
        """The matrix is whole: it gets its name."""
        self._write_header()
        self._output.commit()

    def keep(self) -> tuple[int, Path | None]:
        """The run ended early. Returns how many rows there are, and the file that has them, as
        `OutputFile.keep` names it; no file is left for no rows."""
        if self._rows == 0:
            self._output.discard()
            return 0, None
        self._write_header()
        return self._rows, self._output.keep()

    def _write_header(self) -> None:
        write_header(self._output.file, np.dtype("<f4"), (self._rows, self._dimension))


def write_header(file: IO[bytes], kind: np.dtype[Any], shape: tuple[int, int]) -> None:
    """Writes the header of a matrix at the beginning of a file.

    It is always of one length: numpy pads headers to 64 bytes and leaves room for the number of rows to grow.
    """
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header)
