"""Standard input, output and error as a command finds them. Standard library only.

Whoever starts a process may have closed them. The next file that is opened then gets the number 1 or 2, and
what is meant for a terminal is written into it. And their encoding may lack what a text holds.
"""

from __future__ import annotations

import io
import os
import sys

__all__ = ["escape_unknown", "open_closed", "same_file"]


def open_closed() -> frozenset[int]:
    """Opens /dev/null in place of each of the descriptors 0, 1 and 2 that is closed; which those were.

    To be called before anything else is opened.
    """
    closed = frozenset(number for number in range(3) if not _is_open(number))
    for number in sorted(closed):
        opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
    # Python made them None where they were closed.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    return closed


def escape_unknown() -> None:
    """From now on a character that an output's encoding lacks is written as an escape, such as \\u2026 for …,
    and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def same_file(one: int, other: int) -> bool:
    """Whether both descriptors lead to the same file, pipe or terminal."""
    return os.path.sameopenfile(one, other)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
