"""Text for a terminal: tables whose columns line up in every script. Imports nothing."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence


def say(text: str) -> None:
    """Writes a line at once, so that whoever reads the other end of a pipe has it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def columns_of(text: str) -> int:
    """The columns that a text takes on a terminal: East Asian wide characters two, combining marks none."""
    return sum(
        0
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """A text filled up with spaces to so many columns; `right` puts them before it."""
    spaces = " " * (columns - columns_of(text))
    return spaces + text if right else text + spaces


def shortened(text: str, columns: int) -> str:
    """A text on one line, cut with an ellipsis to so many columns."""
    text = " ".join(text.split())
    if columns_of(text) <= columns:
        return text
    while columns_of(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """The lines of a table; the columns numbered in `right` are aligned there."""
    all_rows = [list(header), *(list(row) for row in rows)]
    widths = [max(columns_of(row[i]) for row in all_rows) for i in range(len(header))]
    on_the_right = set(right)
    lines = [
        "  ".join(padded(cell, widths[i], right=i in on_the_right) for i, cell in enumerate(row)).rstrip()
        for row in all_rows
    ]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]
