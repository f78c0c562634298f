"""The one way to write an output file: it gets its name when it is whole, and not before.

The file is written beside the place where it belongs and then renamed, so that nobody reads half of it and an
older file is kept until then. A device or a pipe, which cannot be replaced, gets the content at the end.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class OutputError(OSError):
    """An output cannot be written. One line that names it."""


class OutputFile:
    """A file under way. End it with `commit`, `keep` or `discard`.

    Args:
        path: The name that it gets; links are followed. An existing file keeps its permissions.

    Raises OutputError, as all methods do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = Path(os.path.realpath(path))
        self._part: Path | None = None
        with _naming(path):
            status = path.stat() if path.exists() else None
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise OutputError(f"{path}: cannot be written: it is a folder")
            if status is not None and not os.access(path, os.W_OK):
                raise OutputError(f"{path}: cannot be written: no permission")
            if status is not None and _is_device(path, status):
                descriptor, name = tempfile.mkstemp()
                Path(name).unlink()
                self._target = path
            else:
                self._part = self._target.with_name(f".altclip-{secrets.token_hex(8)}.partial")
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(self._part, flags, 0o666)
                if status is not None:
                    self._part.chmod(stat.S_IMODE(status.st_mode))
            self.file: IO[bytes] = io.BufferedRandom(_Raw(descriptor, path))

    def write(self, content: bytes) -> None:
        """Appends."""
        self.file.write(content)

    def commit(self) -> None:
        """The content is whole: it gets its name."""
        with _naming(self.path):
            try:
                self._finish(self._target)
            except BaseException:
                self.discard()
                raise

    def keep(self) -> Path:
        """The run ended early: what there is gets the name if no file has it, and the name with `.partial` at
        its end otherwise. Returns the name that it got."""
        path = self.path
        if self._part is not None and self._target.exists():
            path = path.with_name(f"{path.name}.partial")
        with _naming(self.path):
            self._finish(path if path is not self.path else self._target)
        return path

    def discard(self) -> None:
        """Nothing of it is kept."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def _finish(self, target: Path) -> None:
        self.file.flush()
        if self._part is not None:
            os.fsync(self.file.fileno())
            self.file.close()
            self._part.replace(target)
            return
        self.file.seek(0)
        with self._target.open("wb") as device:
            shutil.copyfileobj(self.file, device)
        self.file.close()


class _Raw(io.FileIO):
    """A file whose failures name the output; the errors of other files in the same block stay theirs."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "r+b")
        self._output = path

    def write(self, content: Any, /) -> int:
        with _naming(self._output):
            return super().write(content)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OutputError, BrokenPipeError):
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _is_device(path: Path, status: os.stat_result) -> bool:
    """Whether this cannot be replaced: a device, a pipe, or a descriptor of this process."""
    return not stat.S_ISREG(status.st_mode) or str(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write; it gets its name at the end of the block, and nothing of it is left where that fails.
    Raises OutputError."""
    output = OutputFile(path)
    try:
        yield output.file
    except BaseException:
        output.discard()
        raise
    output.commit()
