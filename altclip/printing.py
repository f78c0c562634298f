"""What the command line shows: tables whose columns line up in every script, JSON, and lines for people.

Any text may be shown in any locale. Characters that a terminal obeys, such as escapes and marks that turn the
direction of writing, are shown as what they are: `\\x1b`, `\\u202e`. So are characters that the encoding of
the output lacks.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO

from altclip.output import OutputError

# C0 without the line feed, DEL, C1; marks of direction; ends of lines and of text; half of a pair.
_OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# Our own ornaments, where the encoding lacks them.
_PLAIN = str.maketrans({"─": "-", "…": "...", "–": "-", "→": "->"})


def say(text: str) -> None:
    """Writes lines to standard output at once, so that whoever reads the other end of a pipe has them. Raises
    OutputError and BrokenPipeError."""
    _write(legible(text))


def say_json(value: object, indent: int | None = None) -> None:
    """Writes JSON, in one line unless it is indented. Raises as `say` does."""
    _write(json_text(value, indent))


def tell(text: str) -> None:
    """Writes a line to standard error, as far as there is one."""
    if sys.stderr is not None:
        show(sys.stderr, f"{legible(text, sys.stderr.encoding)}\n")


def show(stream: TextIO, text: str) -> None:
    """Writes at once to a stream that tells people how it goes. Where that fails, as on a full disk or when
    the reader has gone, the work goes on untold."""
    with contextlib.suppress(OSError):
        stream.write(text)
        stream.flush()


def legible(text: str, encoding: str | None = None) -> str:
    """The text as it can be shown: nothing that a terminal obeys but line feeds, nothing that the encoding
    lacks. encoding: that of standard output unless given."""
    shown = _OBEYED.sub(lambda found: _escape(found[0]), text)
    return shown if _fits(shown, encoding) else _in_encoding(shown.translate(_PLAIN), encoding)


def json_text(value: object, indent: int | None = None, encoding: str | None = None) -> str:
    """JSON in which all that `legible` would change is escaped as JSON does it, so that any value can be
    written and read again."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    text = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if _fits(text, encoding):
        return text
    return "".join(each if _fits(each, encoding) else json.dumps(each)[1:-1] for each in text)


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
    text = legible(" ".join(text.split()))
    if columns_of(text) <= columns:
        return text
    while columns_of(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """The lines of a table; the columns numbered in `right` are aligned there."""
    all_rows = [[legible(" ".join(cell.split("\n"))) for cell in row] for row in (header, *rows)]
    widths = [max(columns_of(row[i]) for row in all_rows) for i in range(len(header))]
    on_the_right = set(right)
    lines = [
        "  ".join(padded(cell, widths[i], right=i in on_the_right) for i, cell in enumerate(row)).rstrip()
        for row in all_rows
    ]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _fits(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or _encoding())
    except UnicodeEncodeError:
        return False
    return True


def _in_encoding(text: str, encoding: str | None) -> str:
    name = encoding or _encoding()
    return text.encode(name, "backslashreplace").decode(name)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _write(text: str) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from error
