"""One item of a data set: a picture or a text, where it stands, and why it was left out.

Pictures are named, not held: each is read when it is sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

PICTURE_SUFFIXES = frozenset({"webp", "png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff"})
"""The names of picture files; LAION's sets use the first four."""


def is_hidden(name: str) -> bool:
    """Whether a part of this path belongs to a program, not to the data: `._a.jpg`, `.ipynb_checkpoints`,
    `__MACOSX`."""
    parts = name.replace("\\", "/").split("/")
    return any((part.startswith(".") and part not in {".", ".."}) or part == "__MACOSX" for part in parts)


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
class LeftOut:
    """Something that takes no part in the figures, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def mark_of(*parts: str) -> int:
    """64 bits of a hash over these parts; never 0."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
