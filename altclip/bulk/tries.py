"""When what failed is tried again, and how that is told. Pure."""

from __future__ import annotations

from altclip.errors import Cancelled, DeadlineExceeded, Internal, Overloaded, Unavailable

__all__ = ["LONGEST_PAUSE", "PASSING", "PAUSES", "is_last", "next_try", "pause_after"]

PASSING = (Unavailable, Overloaded, DeadlineExceeded, Internal, Cancelled)
"""What may be over when it is tried again. gRPC ends with CANCELLED what reaches a server as it closes its
connections; on a client that was closed the next try ends with `ClientUnusable`."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further try; the last one is repeated. They begin anew when something came back."""

LONGEST_PAUSE = 3600.0
"""Seconds. Whatever a server asks for: nothing waits for an infinite time."""


def pause_after(failures: int, asked: float | None) -> float:
    """Seconds before the next try. failures: those before this one. asked: what the server asks to wait."""
    return max(PAUSES[min(failures, len(PAUSES) - 1)], min(asked or 0.0, LONGEST_PAUSE))


def is_last(failures: int) -> bool:
    """Whether this try was the last one of a work that does not wait for as long as patience lasts."""
    return failures >= len(PAUSES)


def next_try(problem: object, pause: float) -> str:
    """What is told of a failure that passes."""
    return f"{problem}; the next try is in {pause:.3g} s"
