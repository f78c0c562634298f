"""What a process that was forked may still do with gRPC.

Measured with gRPC 1.85: a new channel works in the child where nothing was under way in the parent. Where a
call or stream was under way, one child in six waited in vain. After gRPC's asyncio had been used in the
parent, its use ended the child with a segmentation fault. What does not work is told at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from altclip.errors import ClientUnusable

SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
SPAWN = 'start processes with multiprocessing.get_context("spawn")'


class _Process:
    """What this process has done with gRPC, and what its parent had done when it was forked."""

    def __init__(self) -> None:
        self.under_way: set[object] = set()
        self.uses_asyncio = False
        self.is_forked = False
        self.forked_in_a_call = False
        self.forked_after_asyncio = False

    def forked(self) -> None:
        self.is_forked = True
        self.forked_in_a_call |= bool(self.under_way)
        self.forked_after_asyncio |= self.uses_asyncio
        self.under_way.clear()


_process = _Process()
os.register_at_fork(after_in_child=_process.forked)


@contextlib.contextmanager
def under_way() -> Iterator[None]:
    """Notes that gRPC is at work for as long as the block takes."""
    token = begin()
    try:
        yield
    finally:
        end(token)


def begin() -> object:
    """Notes that gRPC is at work until `end` is called with what this returns."""
    token = object()
    _process.under_way.add(token)
    return token


def end(token: object) -> None:
    """The end of what began."""
    _process.under_way.discard(token)


def check() -> None:
    """Raises ClientUnusable where a new channel would not work in this process."""
    if _process.is_forked and os.environ.get(SUPPORT, "1").lower() in {"0", "false", "no"}:
        raise ClientUnusable(f"this process was forked, and {SUPPORT} is off: set it to 1, or {SPAWN}")
    if _process.forked_in_a_call:
        raise ClientUnusable(
            "this process was forked while a call or stream was under way, and gRPC does not work in it: "
            f"fork before, or {SPAWN}"
        )


def check_asyncio() -> None:
    """Raises ClientUnusable where gRPC's asyncio would end this process."""
    if _process.forked_after_asyncio:
        raise ClientUnusable(
            f"this process was forked after an AsyncClient had been used: use Client in it, or {SPAWN}"
        )
    _process.uses_asyncio = True
