"""How a run tells how far it is, on standard error: on a terminal one line that is overwritten, elsewhere a
JSON line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping

from altclip.bulk.progress import LINE_SECONDS, TERMINAL_SECONDS, duration
from altclip.printing import json_text, show, tell

RECENT_SECONDS = 10.0
"""The rate of now is that of so many seconds."""


class Rates:
    """The rate now and on average, and the time that is left. Given the time, so that it does no I/O."""

    def __init__(self, total: int, start: float) -> None:
        self._total = total
        self._start = start
        self._recent: deque[tuple[float, int]] = deque([(start, 0)])

    def at(self, now: float, done: int) -> dict[str, float]:
        """done: how many of `total` are done. Rates are per second, times in seconds."""
        self._recent.append((now, done))
        while len(self._recent) > 2 and self._recent[1][0] <= now - RECENT_SECONDS:
            self._recent.popleft()
        since, before = self._recent[0]
        mean = done / (now - self._start) if now > self._start else 0.0
        recent = (done - before) / (now - since) if now > since else 0.0
        left = (self._total - done) / mean if mean else 0.0
        return {"rate": recent, "mean_rate": mean, "seconds_left": left}


class Report:
    """Shows the progress of a run whose parts have `total` cells to embed."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._rates = Rates(total, time.monotonic())
        self._shown = time.monotonic()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._line_open = False

    def __call__(self, done: int, failed: int, times: Mapping[str, float]) -> None:
        """Shows it when it is time to."""
        now = time.monotonic()
        if now - self._shown < (TERMINAL_SECONDS if self._terminal else LINE_SECONDS):
            return
        self._shown = now
        rates = self._rates.at(now, done)
        if not self._terminal:
            numbers = {name: round(value, 1) for name, value in (rates | dict(times)).items()}
            tell(json_text({"done": done, "of": self._total, "failed_rows": failed} | numbers, None, "utf-8"))
            return
        show(sys.stderr, f"\r\x1b[K{self.line(done, failed, rates, times)}")
        self._line_open = True

    def line(self, done: int, failed: int, rates: Mapping[str, float], times: Mapping[str, float]) -> str:
        """What a terminal shows."""
        share = 100 * done / self._total if self._total else 100
        spent = sum(times.values()) or 1.0
        slow = ", ".join(f"{name} {100 * value / spent:.0f}%" for name, value in times.items())
        failures = f", {failed:,} rows failed" if failed else ""
        return (
            f"{done:,} of {self._total:,} ({share:.0f}%){failures}; {rates['rate']:,.0f} a second, "
            f"{rates['mean_rate']:,.0f} on average, {duration(rates['seconds_left'])} left; {slow}"
        )

    def tell(self, line: str) -> None:
        """Something that people may want to know, on a line of its own."""
        self.end()
        tell(f"altclip: {line}")

    def end(self) -> None:
        """Ends the line that is overwritten."""
        if self._line_open:
            show(sys.stderr, "\n")
            self._line_open = False
