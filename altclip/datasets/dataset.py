"""A data set as the evaluation sees it, wherever it was read from: pictures, captions, classes.

Readers: `shards.py` (tar files), `folder.py` (loose files), `table.py` (CSV and JSON lines). Pictures are
named, not held: each is read when it is sent. Imports nothing of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Task = Literal["retrieval", "classification"]

PICTURE_SUFFIXES = frozenset({"webp", "png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff"})
"""The names of picture files; LAION's sets use the first four."""


class DataError(ValueError):
    """The data cannot be used as it is. One line, which names the file and the line, column or member."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file, or a member of a tar file.

    Attributes:
        name: What it is called in its set.
        where: Where it is named, for messages: `captions.csv line 7`, `0.tar: s0000001.jpg`.
        path: The file.
        offset: Where in the file it begins.
        size: Its bytes; None for the whole file.
    """

    name: str
    where: str
    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """The picture's bytes. Raises OSError; EOFError where the file is shorter than it was."""
        if self.size is None:
            return self.path.read_bytes()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) != self.size:
            raise EOFError(f"{self.path} ends within this picture")
        return content

    def mark(self) -> int:
        """A number that changes with the file's place, size and time of change; never 0."""
        try:
            status = self.path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        return mark_of(self.name, str(self.offset), str(self.size), state)


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed.

    Attributes:
        text: The text.
        where: Where it stands, for messages.
    """

    text: str
    where: str

    def mark(self) -> int:
        """A number that changes with the text; never 0."""
        return mark_of(self.text)


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the index of the picture that it belongs to."""

    picture: int
    text: Text


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that takes no part in the figures, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """What is to be measured.

    Attributes:
        name: What it is called in results.
        task: What it is for.
        pictures: The pictures.
        captions: For retrieval, by language.
        labels: For classification, the index of each picture's class.
        classes: For classification, the names of the classes by language, all of one length.
        templates: For classification, the set's own prompts by language, each with one `{}`.
        left_out: What the reader could not use.
    """

    name: str
    task: Task
    pictures: Sequence[Picture]
    captions: Mapping[str, Sequence[Caption]] = field(default_factory=dict)
    labels: Sequence[int] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True)
class Request:
    """What the caller says about the data.

    Attributes:
        path: A folder, or a table.
        split: The folder's split.
        task: None to tell from the data.
        languages: Of the captions or class names, in order; empty for what the data has.
        known: The languages of the model, by which a table's columns are recognised.
        images: The folder that a table's pictures are named from; None for the table's own.
        classnames: Files of class names by language.
        templates: Files of prompts by language.
    """

    path: Path
    split: str = "test"
    task: Task | None = None
    languages: Sequence[str] = ()
    known: Sequence[str] = ()
    images: Path | None = None
    classnames: Mapping[str, Path] = field(default_factory=dict)
    templates: Mapping[str, Path] = field(default_factory=dict)

    @property
    def language(self) -> str:
        """The language of what names none."""
        return self.languages[0] if self.languages else "en"


def mark_of(*parts: str) -> int:
    """64 bits of a hash over these parts; never 0."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def read_text(path: Path) -> str:
    """A file of UTF-8. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return decode(content, str(path))


def decode(content: bytes, where: str) -> str:
    """UTF-8, with or without a mark at its start. Raises DataError that names the line."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{where} line {line}: not UTF-8") from None
