"""Writes the files of a part: each gets its name when it is whole, and tells its length and its SHA-256.

On this machine a file is written beside its name, synced and renamed. To a store it is sent when it is whole:
from a temporary file, so that nobody sees a part of it where the store shows an object when it has all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from altclip.bulk.output.manifest import Stored
from altclip.bulk.sources.locations import Location, Remote, one_line
from altclip.npy import write_header
from altclip.output import OutputError, OutputFile


@contextlib.contextmanager
def writing(location: Location, what: str = "written") -> Iterator[None]:
    """What goes wrong in the block while this location is written, made or removed becomes an OutputError
    that names it. what: what cannot be done."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:  # stores' libraries have errors of their own
        if isinstance(location, Path) and not isinstance(error, OSError):
            raise
        told = error.strerror if isinstance(error, OSError) else None
        raise OutputError(f"{location}: cannot be {what}: {told or one_line(error)}") from error


class Upload:
    """A file under way to a store. End it with `commit` or `discard`; raises OutputError as `OutputFile`."""

    def __init__(self, location: Remote) -> None:
        self._location = location
        try:
            self._temporary = tempfile.NamedTemporaryFile(prefix="altclip-", suffix=".partial")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{tempfile.gettempdir()}: cannot be written: {error.strerror}") from None
        self.file = cast(IO[bytes], self._temporary)

    def write(self, content: bytes) -> None:
        try:
            self.file.write(content)
        except OSError as error:
            raise OutputError(f"{self._temporary.name}: cannot be written: {error.strerror}") from None

    def commit(self) -> None:
        try:
            with writing(self._location):
                self.file.flush()
                self._location.system.put_file(self._temporary.name, self._location.path)
        finally:
            self.discard()

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.close()


def output_file(location: Location) -> OutputFile | Upload:
    """A file under way to this location."""
    return OutputFile(location) if isinstance(location, Path) else Upload(location)


class HashedFile:
    """A file under way that knows its length and its hash: what pyarrow writes to. name: below the output."""

    def __init__(self, folder: Location, name: str) -> None:
        self._name = name
        self._output = output_file(folder / name)
        self._digest = hashlib.sha256()
        self.size = 0
        self.closed = False
        self._discarded = False

    def write(self, content: bytes) -> int:
        """Appends. Raises OutputError."""
        view = memoryview(content)
        if self._discarded:  # pyarrow writes a file's end when its writer is collected, whatever became of it
            return view.nbytes
        self._output.write(view)  # type: ignore[arg-type]  # what a file takes
        self._digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Bytes so far."""
        return self.size

    def flush(self) -> None:
        """Nothing: `commit` syncs."""

    def close(self) -> None:
        """pyarrow has written all."""
        self.closed = True

    def readable(self) -> bool:
        """False."""
        return False

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """False."""
        return False

    def commit(self) -> Stored:
        """Syncs the file and gives it its name. Raises OutputError."""
        self._output.commit()
        return Stored(self._name, self.size, self._digest.hexdigest())

    def discard(self) -> None:
        """Nothing of it is kept."""
        self._discarded = True
        self._output.discard()


class ArrayFile:
    """A .npy file under way: a matrix of `width` numbers a row. name: below the output."""

    def __init__(self, folder: Location, name: str, width: int, kind: npt.DTypeLike) -> None:
        self._name = name
        self._width = width
        self._kind = np.dtype(kind).newbyteorder("<")
        self._rows = 0
        self._output = output_file(folder / name)
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Adds rows. Raises OutputError."""
        self._output.write(rows.astype(self._kind, copy=False).tobytes())
        self._rows += len(rows)

    def commit(self) -> Stored:
        """The matrix is whole: it gets its name. Raises OutputError."""
        self._write_header()
        file = self._output.file
        file.flush()
        file.seek(0)
        digest = hashlib.sha256()
        size = 0
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
        self._output.commit()
        return Stored(self._name, size, digest.hexdigest())

    def discard(self) -> None:
        """Nothing of it is kept."""
        self._output.discard()

    def _write_header(self) -> None:
        write_header(self._output.file, self._kind, (self._rows, self._width))
