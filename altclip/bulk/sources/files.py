"""Which files an input consists of, in which order, and what they hold; and a hash of their contents.

An input is a file, a glob, or a folder, which is searched with all folders in it. Files are sorted by their
path below the base: the folder, or the folder that holds the file or the glob.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import gzip
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, cast

from altclip.bulk.sources.locations import Location, Remote, location_of, reading
from altclip.datasets.items import PICTURE_SUFFIXES, DataError, is_hidden

TABLES = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSIONS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd"}
IMAGES = PICTURE_SUFFIXES | {"avif", "heic", "heif"}

WHOLE = 1 << 30
"""A longer file is hashed in parts, and must keep its time of change instead."""
PARTS, PART = 1024, 1 << 20
LISTED = 1024
"""So many files of a folder of images have a hash of their own, so that one that changed can be named."""


@dataclass(frozen=True)
class Found:
    """An input's files.

    Attributes:
        kind: parquet, csv, tsv, jsonl, tar or images.
        base: Paths in the input are relative to this folder.
        files: Sorted.
    """

    kind: str
    base: Location
    files: tuple[Location, ...]

    def name(self, file: Location) -> str:
        """A file's path below the base."""
        return below(file, self.base)


def below(file: Location, base: Location) -> str:
    """A file's path below a folder."""
    return file.relative_to(base).as_posix()  # type: ignore[arg-type]  # both are of one kind


def find(given: str, output: Location | None = None) -> Found:
    """The files of an input. Raises DataError where there is nothing to read, or more than one kind.

    output: A folder or glob is read without the files in it, so that it may lie in the input.
    """
    path = location_of(given)
    if isinstance(path, Remote):
        with reading(path):
            return _find_remote(given, path, output)
    if path.is_dir():
        files = [file for file in _walk(path) if kind_of(file)]
        return _of_one_kind(given, path, _outside(output, path, files))
    if path.exists():
        _check_kind(given, path)
        return _of_one_kind(given, path.parent, [path])
    if not glob.has_magic(given):
        raise DataError(f"{given}: no such file or folder")
    names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - the pattern may be absolute
    base = Path(_base_of_pattern(str(path)))
    matches = map(Path, dict.fromkeys(names))  # a pattern with `**` twice gives some files twice
    files = [each for each in matches if each.is_file() and kind_of(each)]
    return _of_one_kind(given, base, _outside(output, base, files))


def _find_remote(given: str, path: Remote, output: Location | None) -> Found:
    # First as a file: some stores would read all of it to tell whether it is a folder.
    if kind_of(path) and not glob.has_magic(path.path) and path.is_file():
        return _of_one_kind(given, path.parent, [path])
    if glob.has_magic(path.path):
        base = Remote(path.system, _base_of_pattern(path.path))
        # Here a `*` matches hidden files, too.
        matches = (file for file in path.matches() if not is_hidden(below(file, base)))
        files = [file for file in matches if file.is_file() and kind_of(file)]
        return _of_one_kind(given, base, _outside(output, base, files))
    files = [file for file in path.below() if kind_of(file) and not _passed_over(below(file, path))]
    if not files and path.exists():
        _check_kind(given, path)
    return _of_one_kind(given, path, _outside(output, path, files))


def _outside(output: Location | None, base: Location, files: Sequence[Location]) -> Sequence[Location]:
    """The files that are not in the output. All of them where the input itself lies in it: that is refused
    later, when the output is opened."""
    if output is None:
        return files
    own = _place(output)

    @functools.cache
    def is_within(folder: Location) -> bool:
        return _place(folder).is_relative_to(own)

    return files if is_within(base) else [file for file in files if not is_within(file.parent)]


def _place(folder: Location) -> PurePath:
    """What tells two folders apart, whichever links and relative paths lead there."""
    return Path(os.path.realpath(folder)) if isinstance(folder, Path) else PurePosixPath(str(folder))


def _check_kind(given: str, path: Location) -> None:
    if not kind_of(path):
        known = ", ".join([*TABLES, ".tar"])
        raise DataError(f"{given}: not a kind of file that is read here: {known}, or a folder of images")


def _passed_over(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def kind_of(path: Location) -> str:
    """What a file holds, by its name; empty for what is not read."""
    suffixes = [each.lower() for each in path.suffixes]
    if suffixes[-1:] == [".tgz"] or suffixes[-2:] == [".tar", ".gz"] or suffixes[-1:] == [".tar"]:
        return "tar"
    if suffixes and suffixes[-1].removeprefix(".") in IMAGES:
        return "images"
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS and suffixes[-2] != ".parquet":
        return TABLES.get(suffixes[-2], "")
    return TABLES.get(suffixes[-1], "") if suffixes else ""


def compression_of(path: Location) -> str:
    """gzip or zstd, by a file's name; empty for a file that is plain."""
    return COMPRESSIONS.get(path.suffix.lower(), "")


@contextlib.contextmanager
def decompressed(path: Location) -> Iterator[IO[bytes]]:
    """A file's content for reading, whether it is compressed or not."""
    compression = compression_of(path)
    with path.open("rb") as file:
        if compression == "gzip":
            with gzip.open(file, "rb") as stream:
                yield cast(IO[bytes], stream)
        elif compression:
            import pyarrow as pa

            with pa.input_stream(file, compression=compression, buffer_size=1 << 20) as raw:
                yield cast(IO[bytes], io.BufferedReader(raw))
        else:
            yield file


def _of_one_kind(given: str, base: Location, files: Sequence[Location]) -> Found:
    kinds = sorted({kind_of(file) for file in files})
    if not kinds:
        raise DataError(f"{given}: no files to read: tables, tar files or images")
    if len(kinds) > 1:
        raise DataError(f"{given}: files of several kinds ({', '.join(kinds)}): choose some with a glob")
    for file in files if kinds != ["images"] else ():
        if not file.is_file():  # to open a pipe would wait for whoever writes to it
            raise DataError(f"{file}: not a file")
    return Found(kinds[0], base, tuple(sorted(files, key=lambda each: each.parts)))


def _walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and the folders in it. Links to folders are followed, and none is entered twice;
    hidden files are left out, and those whose name begins with `_` as other tools' marks do."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            entries = sorted(os.scandir(current), key=lambda each: each.name)
        except OSError as error:
            raise DataError(f"{current}: {error.strerror}") from None
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if _is_folder(entry):
                waiting.append(current / entry.name)
            else:
                yield current / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _base_of_pattern(pattern: str) -> str:
    """The folder above the first part of a glob that is a pattern."""
    parts = pattern.split("/")
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else ".")


def hash_of(path: Location) -> tuple[int, str]:
    """A file's size and the hash of its content, or what a store says of its version. Raises DataError."""
    with reading(path):
        if isinstance(path, Remote) and (version := path.version()):
            return path.size(), f"version:{version}"
        with path.open("rb") as file:
            if isinstance(path, Remote):
                return path.size(), f"sha256:{_digest(file)}"
            status = os.fstat(file.fileno())
            if status.st_size <= WHOLE:
                return status.st_size, f"sha256:{_digest(file)}"
            digest = hashlib.sha256()
            for part in range(PARTS):
                file.seek((status.st_size - PART) * part // (PARTS - 1))
                digest.update(file.read(PART))
            return status.st_size, f"sha256-of-parts:{digest.hexdigest()}:{status.st_mtime_ns}"


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def hash_of_listing(found: Found, count: int) -> tuple[int, str, list[str]]:
    """The size of the first `count` files, a hash of their paths, sizes and times of change, and a short one
    of each 1,024 of them: for folders of so many files that reading all of them twice costs too much."""
    digest, total, blocks = hashlib.sha256(), 0, []
    for start in range(0, count, LISTED):
        block = hashlib.sha256()
        for file in found.files[start : min(start + LISTED, count)]:
            try:
                size, state = _state(file)
                total += size
            except OSError:
                state = "unreadable"
            block.update(f"{found.name(file)}\0{state}\0".encode("utf-8", "surrogateescape"))
        blocks.append(block.hexdigest()[:8])
        digest.update(block.digest())
    return total, f"sha256-of-listing:{digest.hexdigest()}", blocks


def latest_change(files: Sequence[Location]) -> Location | None:
    """The file that was put here, written or renamed last; None where there is none."""

    def moment(file: Location) -> float:
        try:
            return 0.0 if isinstance(file, Remote) else file.stat().st_ctime
        except OSError:
            return 0.0

    return max(files, key=moment, default=None)


def _state(file: Location) -> tuple[int, str]:
    if isinstance(file, Remote):
        return file.size(), f"{file.size()} {file.version()}"
    status = file.stat()
    return status.st_size, f"{status.st_size} {status.st_mtime_ns}"
