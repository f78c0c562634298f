"""When a queue stands, less is let in: the bound of the expected wait, from (waits that were measured, now).

A queue that takes up a burst and empties again is good. One that stands is not: everyone waits longer and
nothing is done sooner. So, after CoDel (Nichols and Jacobson, 2012) as servers use it (Maurer, "Fail at
Scale", 2015): as long as every interactive item waits for less than `target`, calls are let in up to the
longest wait that the operator allows; once none has for an `INTERVAL`, only up to the target, until an item
waits for less than half of it. Work that fills the device for as long as the target is always let in, so
shedding never leaves it idle; this is why the target is several batches where batches take long.

    waits below the target ─▶ bound = max_wait ─▶ a standing queue ─▶ bound = target ─▶ it has emptied ─▶ …
"""

from __future__ import annotations

__all__ = ["Shedding"]

TARGET = 0.25
TARGET_BATCHES = 3
"""Seconds, or so many full batches where those take longer: how long interactive work may wait for ever."""
INTERVAL = 0.5
"""Seconds that a burst may take."""
STALE = 5.0
"""After so many seconds without interactive work nothing is known of its waits."""


class Shedding:
    """Of one model in one frontend. Seconds everywhere."""

    def __init__(self, max_wait: float) -> None:
        """max_wait: the bound as long as no queue stands."""
        self._max_wait = max_wait
        self._target = min(TARGET, max_wait)
        self._above_since: float | None = None
        self._shedding = False
        self._observed = 0.0

    def observe(self, wait: float, batch_seconds: float, now: float) -> None:
        """An interactive item has waited so long. batch_seconds: what a full batch takes."""
        self._target = min(self._max_wait, max(TARGET, TARGET_BATCHES * batch_seconds))
        self._observed = now
        if wait < (self._target / 2 if self._shedding else self._target):
            self._above_since, self._shedding = None, False
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since >= INTERVAL:
            self._shedding = True

    def bound(self, now: float) -> float:
        """The longest expected wait at which work is let in."""
        return self._target if self._shedding and now - self._observed < STALE else self._max_wait
