"""When a process that ended is started again, and when to give up. Pure; imports nothing.

it served for long          → at once
it failed again soon        → after a wait that doubles each time, with jitter
it failed `limit` times     → never: the server ends
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RestartPolicy"]

_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """backoff: the first wait. stable: seconds of service that wipe out failures. limit: in a row."""

    backoff: float
    stable: float
    limit: int

    def failures_after(self, failures: int, served: float) -> int:
        """Failures in a row with this one. served: seconds for which the process was ready, 0 if never."""
        return 1 if served > 0 and served >= self.stable else failures + 1

    def gives_up(self, failures: int) -> bool:
        """Whether that is a crash loop."""
        return failures >= self.limit

    def wait(self, failures: int, chance: float) -> float:
        """Seconds before the next start. chance: uniform in [0, 1), so that many do not start in step."""
        if failures <= 1:
            return 0.0
        doubled = self.backoff * 2.0 ** min(failures - 2, 32)
        return min(_LONGEST, doubled) * (0.75 + 0.5 * chance)
