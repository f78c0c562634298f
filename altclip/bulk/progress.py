"""Progress on stderr: on a terminal one line that is overwritten, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from altclip.printing import legible, show

TERMINAL_SECONDS, LINE_SECONDS = 0.2, 10.0


class Progress:
    """One task's progress.

    Args:
        stream: Where it is shown; None shows nothing.
        task: What is being done.
        total: How many there are.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, stream: TextIO | None, task: str, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._task = task
        self._total = total
        self._clock = clock
        self._start = self._shown = clock()
        self._first: int | None = None
        self._terminal = stream is not None and stream.isatty()

    def __call__(self, done: int) -> None:
        """Shows it when it is time to."""
        if self._first is None:
            self._first = done  # what an earlier run did says nothing about this one's speed
        if self._clock() - self._shown >= (TERMINAL_SECONDS if self._terminal else LINE_SECONDS):
            self._shown = self._clock()
            self._write(self.line(done))

    def line(self, done: int) -> str:
        """What is shown."""
        share = 100 * done / self._total if self._total else 100
        text = f"{self._task}: {done:,} of {self._total:,} ({share:.0f}%)"
        seconds, fresh = self._clock() - self._start, done - (self._first or 0)
        if fresh > 0 and seconds > 0:
            text += f", {fresh / seconds:.3g} a second"
            if done < self._total:
                text += f", {duration((self._total - done) * seconds / fresh)} left"
        return text

    def end(self, done: int) -> None:
        """Shows how far it came, unless there was nothing to do, and ends the line."""
        if done != self._first or self._shown > self._start:
            self._write(self.line(done))
            if self._terminal and self._stream is not None:
                show(self._stream, "\n")

    def _write(self, line: str) -> None:
        if self._stream is not None:
            shown = legible(line, self._stream.encoding)
            show(self._stream, f"\r\x1b[K{shown}" if self._terminal else f"{shown}\n")


def duration(seconds: float) -> str:
    """A time for people: `2 h 3 min`, `1 min 4 s`, `5 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )
