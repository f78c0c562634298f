"""How an unexpected exception is logged: its class and its stack, never its message. Imports nothing of ours.

A message may quote what it failed on ("could not convert string to float: …"), and texts and images never get
into the log. The class and the lines of the stack say where the bug is.
"""

from __future__ import annotations

import traceback
from typing import Any

__all__ = ["failure"]


def failure(error: BaseException) -> dict[str, Any]:
    """Fields for the log: `exception`, the class, and `traceback`, that of its causes first."""
    chain: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append("".join(traceback.format_tb(current.__traceback__)) + name(current))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return {"exception": name(error), "traceback": "\n".join(reversed(chain))}


def name(error: BaseException) -> str:
    """The full name of its class."""
    return f"{type(error).__module__}.{type(error).__qualname__}"
