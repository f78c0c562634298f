"""The output's folder: its lock, its manifest, and what else may lie there.

    OUTPUT/manifest.json  part-00000.parquet …  errors/part-00000.parquet …

On this machine every file is written under another name, synced and renamed. The lock is on the folder
itself, so nothing of it is left when a process dies. A store has neither, and some shared file systems have
no locks: there a run that finds that the manifest is no longer the one it wrote ends. In a store a part
counts when the manifest names it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from altclip.bulk.output.files import output_file, writing
from altclip.bulk.output.layout import Layout
from altclip.bulk.output.manifest import Manifest, Part, load
from altclip.bulk.sources.locations import Location, one_line, reading
from altclip.datasets.items import DataError, is_hidden
from altclip.output import OutputError

MANIFEST = "manifest.json"
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""What a file system says that has no locks, such as Lustre in its default setting."""
_TEMPORARY = re.compile(r"\.altclip-[0-9a-f]+\.partial")


class Folder:
    """An output that this process alone uses, in a `with` block. Raises DataError, also where another run
    uses it, and OutputError where it cannot be made."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self._lock = _locked(path) if isinstance(path, Path) else None
        self._last: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def prepare(self) -> Manifest | None:
        """The manifest, None in a new folder; what a run that was killed left half-written is removed. Raises
        DataError where something else lies in the folder, OutputError for what cannot be removed."""
        self._last = _content(self.path / MANIFEST)
        manifest = read_manifest(self.path)
        known = {MANIFEST, *(manifest.files if manifest else ())}
        half_written, strangers = [], []
        if isinstance(self.path, Path):  # folders, too, whatever is in them
            half_written += [each.name for each in self.path.iterdir() if _TEMPORARY.fullmatch(each.name)]
        for name in files_below(self.path):
            temporary = next((each for each in name.split("/") if _TEMPORARY.fullmatch(each)), None)
            if temporary is not None:
                half_written.append(name[: name.index(temporary) + len(temporary)])
            elif name not in known and not is_hidden(name):  # as those of file managers and of NFS
                strangers.append(name)
                if len(strangers) == 3:
                    break
        if strangers:
            named = ", ".join(sorted(strangers))
            raise DataError(f"{self.path}: holds something else ({named}): give an empty folder")
        for name in dict.fromkeys(half_written):
            _remove(self.path / name)
        return manifest

    def make(self, layout: Layout) -> None:
        """Makes the folders in it. Raises OutputError."""
        if not isinstance(self.path, Path):
            return
        for name in layout.folders:
            with writing(self.path / name, "made"):
                (self.path / name).mkdir(exist_ok=True)

    def clear(self, manifest: Manifest) -> None:
        """Removes the parts of the manifest, one that was under way among them, and itself. Raises
        OutputError."""
        for name in (*manifest.files, MANIFEST):
            with writing(self.path / name, "removed"):
                (self.path / name).unlink(missing_ok=True)
        self._last = None

    def save(self, manifest: Manifest) -> None:
        """Puts the manifest in place of the one there. Raises OutputError, and DataError where another run
        has written to the output meanwhile."""
        content = manifest.dump()
        if self._lock is None and _content(self.path / MANIFEST) != self._last:
            raise DataError(f"{self.path}: another run uses it now")
        output = output_file(self.path / MANIFEST)
        try:
            output.write(content)
        except BaseException:
            output.discard()
            raise
        for name in (*manifest.layout.folders, "."):  # what the manifest names is there before it
            self._sync(name)
        output.commit()
        self._sync(".")
        self._last = content

    def _sync(self, name: str) -> None:
        """Makes renames in a folder durable, where its file system can."""
        if not isinstance(self.path, Path):
            return
        with contextlib.suppress(OSError):
            folder = os.open(self.path / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _remove(location: Location) -> None:
    """Removes a file; or a folder, which processes of an earlier run may still write to under its name.
    Raises OutputError."""
    with writing(location, "removed"):
        if not location.is_dir():
            location.unlink(missing_ok=True)
        elif isinstance(location, Path):
            doomed = location.with_name(f".altclip-{secrets.token_hex(8)}.partial")
            location.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            location.system.rm(location.path, recursive=True)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock; None where the file system has none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path}: not a folder") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be made: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in NO_LOCKS:
            return None
        if isinstance(error, BlockingIOError):
            raise DataError(f"{path}: another run uses it now") from None
        raise OutputError(f"{path}: {error.strerror}") from None
    return lock


def files_below(path: Location) -> Iterator[str]:
    """The names of all files below a folder."""
    if isinstance(path, Path):
        for folder, _, files in os.walk(path):
            base = Path(folder).relative_to(path)
            yield from ((base / file).as_posix() for file in sorted(files))
        return
    with reading(path):
        yield from (each.relative_to(path).as_posix() for each in path.below())


def read_manifest(folder: Location) -> Manifest | None:
    """The manifest of an output; None where there is none. Raises DataError."""
    content = _content(folder / MANIFEST)
    return None if content is None else load(content, str(folder / MANIFEST))


def _content(location: Location) -> bytes | None:
    with reading(location):
        try:
            return location.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def faults_of_files(folder: Location, part: Part, *, contents: bool = True) -> Iterator[str]:
    """What is wrong with the files of a part: none, another length, with `contents` another content."""
    for stored in part.files:
        location = folder / stored.name
        try:
            found = location.stat().st_size if isinstance(location, Path) else location.size()
            if found != stored.bytes:
                yield f"{stored.name}: {found:,} bytes instead of {stored.bytes:,}"
            elif contents and _sha256(location) != stored.sha256:
                yield f"{stored.name}: its content is not what was written"
        except FileNotFoundError:
            yield f"{stored.name}: is missing"
        except Exception as error:  # stores' libraries have errors of their own
            if isinstance(location, Path) and not isinstance(error, OSError):
                raise
            yield f"{stored.name}: {getattr(error, 'strerror', None) or one_line(error)}"


def _sha256(location: Location) -> str:
    digest = hashlib.sha256()
    with location.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
