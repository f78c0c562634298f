"""Files that may change while the service runs: keys and certificates. Imports no transport.

A file is looked at by its path about once a second, so that a replaced file, a rewritten one and Kubernetes'
swap of a symbolic link are all seen. What cannot be used is told once, in the log and the metrics, and what
was good before stays in use.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from worker.runtime import logs
from worker.runtime.metrics import Metrics

__all__ = ["LOOK_SECONDS", "Reloading"]

LOOK_SECONDS = 1.0
MOST_BYTES = 4 << 20

Value = TypeVar("Value")
Signature = tuple[tuple[int, ...], ...]
_log = logs.get("reloading")


@dataclass(frozen=True, slots=True)
class Look(Generic[Value]):
    """What was found: a value, or why there is none."""

    seen: Signature
    value: Value | None = None
    failure: str = ""


class Reloading(Generic[Value]):
    """What `load` makes of some files' bytes. what: the label of the metrics.

    load raises ValueError for content that cannot be used; its text goes to the log, so it must not show the
    content.
    """

    def __init__(
        self,
        what: str,
        paths: Sequence[Path],
        load: Callable[[Sequence[bytes]], Value],
    ) -> None:
        """Raises OSError or ValueError: the first content must be good."""
        self._what = what
        self._paths = tuple(paths)
        self._load = load
        self._seen = self._signature()
        self._doubted: Signature = ()
        self._wanted = asyncio.Event()
        self.value = load([_read(path) for path in self._paths])

    async def watch(
        self, metrics: Metrics, changed: Callable[[Value], None], interval: float = LOOK_SECONDS
    ) -> None:
        """Looks again and again, until cancelled. changed: called with each new value, and again with one for
        which it raised."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), interval)
            wanted = self._wanted.is_set()
            self._wanted.clear()
            try:
                look = await asyncio.to_thread(self.look, wanted)
                if self.take(look, metrics, at_once=wanted):
                    changed(self.value)
            except Exception as error:  # for want of memory, say: the frontends do not all have it
                self._seen = ()
                _log.error("reload_failed", "it is tried again", file=self._what, error=error)

    def reread(self) -> None:
        """Has `watch` read the files now, changed or not."""
        self._wanted.set()

    def look(self, anyway: bool = False) -> Look[Value] | None:
        """What is there now; None while it is the same as at the last look, unless `anyway`. Changes
        nothing."""
        seen = self._signature()
        if seen == self._seen and not anyway:
            return None
        try:
            return Look(seen, value=self._load([_read(path) for path in self._paths]))
        except OSError as error:
            return Look(seen, failure=error.strerror or "cannot be read")
        except ValueError as error:
            return Look(seen, failure=str(error))

    def take(self, look: Look[Value] | None, metrics: Metrics, at_once: bool = False) -> bool:
        """Whether there is a new value. Content that is bad may be half written: it gets a second look,
        unless it is to be told at once."""
        if look is None:
            return False
        if look.value is not None:
            self._seen = look.seen
            self.value = look.value
            metrics.reloads.inc(self._what)
            metrics.reload_stale.set(0, self._what)
            _log.info("reloaded", file=self._what)
            return True
        if look.seen != self._doubted and not at_once:
            self._doubted = look.seen
        else:
            self._seen = look.seen
            message = "what was read before stays in use"
            _log.error("reload_failed", message, file=self._what, reason=look.failure)
            metrics.reload_failures.inc(self._what)
            metrics.reload_stale.set(1, self._what)
        return False

    def _signature(self) -> Signature:
        """Differs whenever a file was replaced or written."""
        return tuple(map(_stat, self._paths))


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES} bytes")
    return content
