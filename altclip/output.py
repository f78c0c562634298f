"""The one way to write an output file: it gets its name when it is whole, and not before.

The file is written beside the place where it belongs and then renamed, so that nobody reads half of it and an
older file is kept until then. A device or a pipe, which cannot be replaced, gets the content at the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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
        with self._errors():
            status = self._target.stat() if self._target.exists() else None
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise OutputError(f"{path}: cannot be written: it is a folder")
            if status is not None and not os.access(self._target, os.W_OK):
                raise OutputError(f"{path}: cannot be written: no permission")
            if status is not None and not stat.S_ISREG(status.st_mode):
                self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by what ends this
                return
            part = self._target.with_name(f".altclip-{secrets.token_hex(8)}.partial")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.file = os.fdopen(os.open(part, flags, 0o666), "w+b")
            self._part = part
            if status is not None:
                part.chmod(stat.S_IMODE(status.st_mode))

    def write(self, content: bytes) -> None:
        """Appends."""
        with self._errors():
            self.file.write(content)

    def commit(self) -> None:
        """The content is whole: it gets its name."""
        with self._errors():
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
        with self._errors():
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

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OutputError, BrokenPipeError):
            raise
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write; it gets its name at the end of the block, and nothing of it is left where that fails.
    Raises OutputError."""
    output = OutputFile(path)
    try:
        with output._errors():
            yield output.file
    except BaseException:
        output.discard()
        raise
    output.commit()
