"""What the C library does with memory that is freed. Imports the standard library only."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["keep_freed"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt's numbers for: how much may lie free at the end of the heap; from which size on a piece is asked
from the kernel by itself, and given back when it is freed."""
_NEVER, _LARGE, _MOST_FORMERLY = 2**31 - 1, 2**30, 2**25
"""Bytes. Older versions refuse more than the last for the second threshold."""


def keep_freed() -> None:
    """From now on what this process frees stays with it for what it needs next: never more than it once held.

    By default glibc gives large pieces back, and each batch then pays for every page of its activations anew:
    a third of the time that four images took in int8. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _NEVER)
        if not mallopt(_MMAP_THRESHOLD, _LARGE):
            mallopt(_MMAP_THRESHOLD, _MOST_FORMERLY)
