"""The one reading of text that people hand in: files, standard input, members of a tar file.

Text is UTF-8, with or without a byte order mark. A line ends with LF or CRLF, the last one also without; no
other character ends a line. What is not UTF-8 is refused with its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from altclip.datasets.items import DataError

MARK = "\ufeff"

LONGEST_LINE = 256 << 20
"""Bytes of a line of bulk input, and characters of its cells; what is longer is refused."""


def read_text(path: Path) -> str:
    """A file's text. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return decode(content, str(path))


def decode(content: bytes, where: str, first_line: int = 1) -> str:
    """The text of these bytes. Raises DataError that names the line, counted from `first_line`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        looks = ", but UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ""
        raise DataError(f"{where} line {line}: not UTF-8{looks}") from None


def split_lines(text: str) -> list[str]:
    """The lines of a text without their ends. Files that were joined may have a mark before any line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r").removeprefix(MARK) for line in lines]


def json_object(line: str, where: str) -> dict[str, Any]:
    """The JSON object that is this line. Raises DataError that begins with `where`."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{where}: not a JSON object")
    return found


def number_lines(stream: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a stream that are not blank, with their numbers, as they come."""
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield number, line
