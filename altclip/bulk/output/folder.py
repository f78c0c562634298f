"""The output's folder: its lock, its manifest, and what else may lie there.

    OUTPUT/manifest.json  part-00000.parquet …  errors/part-00000.parquet …

Every file is written under another name, synced and renamed. The lock is on the folder itself, so nothing of
it is left when a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from altclip.bulk.output.manifest import Manifest, Part, load
from altclip.datasets.items import DataError
from altclip.output import OutputError, OutputFile

MANIFEST, ERRORS = "manifest.json", "errors"
_TEMPORARY = re.compile(r"\.altclip-[0-9a-f]+\.partial")


class Folder:
    """An output that this process alone uses, in a `with` block. Raises DataError, and OutputError where it
    cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"{path}: not a folder") from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DataError(f"{path}: another run uses it now") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def prepare(self) -> Manifest | None:
        """The manifest, None in a new folder; what a run that was killed left half-written is removed. Raises
        DataError where something else lies in the folder."""
        manifest = read_manifest(self.path)
        errors = self.path / ERRORS
        files = [*self.path.iterdir(), *(errors.iterdir() if errors.is_dir() else ())]
        half_written = [file for file in files if _TEMPORARY.fullmatch(file.name)]
        known = {self.path / MANIFEST, errors, *half_written, *(self._files(manifest) if manifest else ())}
        strangers = sorted(file.relative_to(self.path).as_posix() for file in files if file not in known)
        if strangers:
            named = ", ".join(strangers[:3])
            raise DataError(f"{self.path}: holds something else ({named}): give an empty folder")
        for file in half_written:
            file.unlink()
        try:
            errors.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{errors}: cannot be made: {error.strerror}") from None
        return manifest

    def clear(self, manifest: Manifest) -> None:
        """Removes the parts of the manifest, one that was under way among them, and itself."""
        for file in self._files(manifest):
            file.unlink(missing_ok=True)
        (self.path / MANIFEST).unlink()

    def _files(self, manifest: Manifest) -> list[Path]:
        """The files of all parts and their errors tables, whether they are there or not."""
        return [folder / name for folder in (self.path, self.path / ERRORS) for name in manifest.names]

    def save(self, manifest: Manifest) -> None:
        """Puts the manifest in place of the one there. Raises OutputError."""
        output = OutputFile(self.path / MANIFEST)
        try:
            output.write(manifest.dump())
        except BaseException:
            output.discard()
            raise
        self._sync(ERRORS)  # what the manifest names is there before it
        self._sync(".")
        output.commit()
        self._sync(".")

    def _sync(self, name: str) -> None:
        """Makes renames in a folder durable, where its file system can."""
        with contextlib.suppress(OSError):
            folder = os.open(self.path / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class HashedFile:
    """A file under way that knows its length and its hash: what pyarrow writes to."""

    def __init__(self, path: Path) -> None:
        self._output = OutputFile(path)
        self._digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, content: bytes) -> int:
        """Appends. Raises OutputError."""
        view = memoryview(content)
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

    def commit(self) -> tuple[int, str]:
        """Syncs the file and gives it its name. Returns its length and its SHA-256. Raises OutputError."""
        self._output.commit()
        return self.size, self._digest.hexdigest()

    def discard(self) -> None:
        """Nothing of it is kept."""
        self._output.discard()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an output; None where there is none. Raises DataError."""
    path = folder / MANIFEST
    try:
        return load(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def faults_of_files(folder: Path, part: Part) -> Iterator[str]:
    """What is wrong with the files of a part: none, another length, another content."""
    for name, size, digest in (
        (part.name, part.bytes, part.sha256),
        (f"{ERRORS}/{part.name}", part.errors_bytes, part.errors_sha256),
    ):
        path = folder / name
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    yield f"{name}: {found:,} bytes instead of {size:,}"
                elif hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    yield f"{name}: its content is not what was written"
        except FileNotFoundError:
            yield f"{name}: is missing"
        except OSError as error:
            yield f"{name}: {error.strerror}"
