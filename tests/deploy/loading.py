"""A service that is never ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.server import STOP_SECONDS, free_port, launch

__all__ = ["never_ready"]


@contextmanager
def never_ready() -> Iterator[str]:
    """The operations port of a server whose model loads for ever."""
    address = f"127.0.0.1:{free_port()}"
    process, logs = launch("--model=m=stub:load_fault=hang", f"--ops-address={address}")
    try:
        logs.wait_for("child_started", seconds=60)
        yield address
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
