"""Load shedding: while a queue stands, the bound on the expected wait is lower. Pure: it is given the time.

A queue that absorbs a burst and empties again is good. In a queue that stands everyone waits longer, and
no more work is done. The rule follows CoDel (Nichols and Jacobson, 2012) as servers use it (Maurer, "Fail
at Scale", 2015). Normally calls are let in up to the longest wait that the operator allows. Once every
interactive item of an `INTERVAL` has waited for the target or longer, calls are let in only up to the target.
This ends when, for `CALM` seconds, all have waited for less than half of the target and nobody was refused.
Short waits alone do not end it: they may be short because the low bound refuses calls.

    waits below the target ─▶ bound = max_wait ─▶ above, for an interval ─▶ bound = target ─▶ calm ─▶ …

As much work as the device does in the target's time is always let in, so that shedding never leaves it idle.
Therefore the target is several batches where batches take long. Callers that wait for each answer before they
ask again are no overload, though a few hundred of them always keep some batches in the queue.
"""

from __future__ import annotations

__all__ = ["Shedding"]

TARGET = 0.25
TARGET_BATCHES = 8
"""How long interactive work may always wait: seconds, or so many full batches where those take longer."""
INTERVAL = 0.5
"""Seconds. A burst may take so long."""
CALM = 2.0
"""Seconds. A low bound does no harm while few calls come; to leave it early would let the next wave in."""
STALE = 5.0
"""Seconds. After so long without interactive work, what was measured of its waits is forgotten."""


class Shedding:
    """The shedding of one model in one frontend. All times are in seconds."""

    def __init__(self, max_wait: float) -> None:
        """max_wait: the bound while no queue stands."""
        self._max_wait = max_wait
        self._target = min(TARGET, max_wait)
        self._shedding = False
        self._against_since: float | None = None
        """When the waits began to call for the other state; None while they do not."""
        self._observed = 0.0

    def observe(self, wait: float, batch_seconds: float, now: float) -> None:
        """An interactive item has waited so long. batch_seconds: of a full batch."""
        if now - self._observed >= STALE:
            self._shedding, self._against_since = False, None
        self._observed = now
        self._target = min(self._max_wait, max(TARGET, TARGET_BATCHES * batch_seconds))
        against = wait < self._target / 2 if self._shedding else wait >= self._target
        if not against:
            self._against_since = None
        elif self._against_since is None:
            self._against_since = now
        elif now - self._against_since >= (CALM if self._shedding else INTERVAL):
            self._shedding, self._against_since = not self._shedding, None

    def refused(self) -> None:
        """A call was refused for lack of room, so there is no calm."""
        if self._shedding:
            self._against_since = None

    def bound(self, now: float) -> float:
        """The longest expected wait at which work is let in."""
        return self._target if self._shedding and now - self._observed < STALE else self._max_wait
