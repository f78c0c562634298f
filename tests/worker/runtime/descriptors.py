"""A process that may open nothing more."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

__all__ = ["no_descriptors_left"]


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """In the block this process gets no new descriptor; those that are open stay."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
