"""Whether a worker hangs: it has unanswered jobs, and its batches make no progress. Pure; imports nothing.

Progress, not liveness: a worker under full load that ends one batch after the other is never stuck, one whose
device hangs is, although all its threads answer. All times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Clock", "is_stuck"]


def is_stuck(outstanding_since: float, last_progress: float, now: float, limit: float) -> bool:
    """outstanding_since: of its oldest unanswered job, 0 for none. last_progress: a batch began or ended."""
    return outstanding_since > 0 and now - max(outstanding_since, last_progress) > limit


@dataclass(slots=True)
class Clock:
    """Whether the watchdog itself was held up (a machine suspended, a container frozen): nobody is stuck."""

    interval: float
    looked: float
    awake_since: float = 0.0

    def look(self, now: float) -> float:
        """The moment before which no lack of progress counts."""
        if now - self.looked > 3 * self.interval:
            self.awake_since = now
        self.looked = now
        return self.awake_since
