"""Where inputs and outputs lie: a path of this machine, or an address of a store that fsspec knows
(`s3://bucket/folder`, `gs://…`, `https://…`, `memory://…`).

`Remote` has those methods of `pathlib.Path` that are needed here, so that a location can be either.
"""

from __future__ import annotations

import contextlib
import glob
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
# What stores say of a file's content; where there is none of them, what they say of its time of change.
_OF_CONTENT = ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "content-md5")
_OF_TIME = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")


@dataclass(frozen=True)
class Remote:
    """A file or a folder of a store.

    Attributes:
        system: fsspec's file system.
        path: In it, without the scheme.
        info: What the store said of it when it was listed.
    """

    system: Any = field(compare=False)
    path: str
    info: dict[str, Any] | None = field(default=None, compare=False, hash=False)

    def __str__(self) -> str:
        return str(self.system.unstrip_protocol(self.path.lstrip("/")))

    def __truediv__(self, name: str) -> Remote:
        return Remote(self.system, f"{self.path.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def suffixes(self) -> list[str]:
        return PurePosixPath(self.path).suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts

    @property
    def parent(self) -> Remote:
        return Remote(self.system, self.path.rstrip("/").rpartition("/")[0])

    def relative_to(self, base: Remote) -> PurePosixPath:
        return PurePosixPath(self.path).relative_to(base.path)

    def open(self, mode: str = "rb", *, block_size: int | None = None) -> IO[bytes]:
        """For reading. block_size: bytes that are fetched at a time; None for as many as the store likes."""
        found = self.system.open(self.path, mode, **({"block_size": block_size} if block_size else {}))
        # Around it, because lines of fsspec's own files cannot be read up to a length.
        return io.BufferedReader(found, block_size or io.DEFAULT_BUFFER_SIZE)

    def read_bytes(self) -> bytes:
        return cast(bytes, self.system.cat_file(self.path))

    def details(self) -> dict[str, Any]:
        """What the store says of it. Raises FileNotFoundError."""
        return self.info or cast(dict[str, Any], self.system.info(self.path))

    def size(self) -> int:
        """Its bytes. Raises FileNotFoundError."""
        return int(self.details().get("size") or 0)

    def version(self) -> str:
        """What changes with its content, as the store says; empty where it says nothing."""
        details = self.details()
        for names in (_OF_CONTENT, _OF_TIME):
            if found := [f"{name} {details[name]}" for name in names if details.get(name)]:
                return " ".join(found)
        return ""

    def exists(self) -> bool:
        return bool(self.system.exists(self.path))

    def is_file(self) -> bool:
        return bool(self.info["type"] == "file" if self.info else self.system.isfile(self.path))

    def is_dir(self) -> bool:
        return bool(self.system.isdir(self.path))

    def unlink(self, missing_ok: bool = False) -> None:
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self.system.rm_file(self.path)

    def below(self) -> list[Remote]:
        """All files in it and in the folders in it; none where there is no such folder. An object whose name
        ends with a slash is none: consoles of S3 make it for an empty folder."""
        found = self.system.find(self.path, detail=True)
        return [Remote(self.system, path, info) for path, info in found.items() if not path.endswith("/")]

    def matches(self) -> list[Remote]:
        """The files that its path, a glob, matches."""
        found = self.system.glob(self.path, detail=True)
        return [Remote(self.system, path, info) for path, info in found.items()]


Location = Path | Remote


def location_of(given: str | Path | Remote) -> Location:
    """The location that a person named. Raises DataError where fsspec does not know the store."""
    if not isinstance(given, str):
        return given
    if not _SCHEME.match(given):
        return Path(given)
    if given.startswith("file://"):
        return Path(given.removeprefix("file://"))
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(given)
        system.invalidate_cache()  # one system serves a process for ever, with the listings of its first run
    except ImportError as error:
        raise DataError(f"{given}: this store needs a library: {error}") from None
    except Exception as error:  # of the store's own library
        raise DataError(f"{given}: {one_line(error)}") from None
    return Remote(system, path)


def absolute(given: str) -> str:
    """The same input for a process that has another working folder: a location, or a glob."""
    location = location_of(given)
    if not isinstance(location, Path) or location.is_absolute():
        return given
    return str(location.absolute()) if location.exists() else f"{glob.escape(str(Path.cwd()))}/{given}"


@contextlib.contextmanager
def reading(location: Location) -> Iterator[None]:
    """What goes wrong in the block while this location is read becomes a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{location}: {error.strerror or one_line(error)}") from None
    except Exception as error:
        if isinstance(location, Path):
            raise
        raise DataError(
            f"{location}: {one_line(error)}"
        ) from error  # stores' libraries have errors of their own


def parquet_file(location: Location, **options: Any) -> pq.ParquetFile:
    """A Parquet file. Raises what pyarrow and the store raise."""
    import pyarrow.parquet as pq

    if isinstance(location, Path):
        return pq.ParquetFile(location, **options)
    return pq.ParquetFile(location.path, filesystem=location.system, **options | {"memory_map": False})


def one_line(error: BaseException) -> str:
    """An error's message, or its name, as one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
