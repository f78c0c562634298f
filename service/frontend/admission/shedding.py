"""When a queue stands, less is let in: the bound of the expected wait, from (waits that were measured, now).

A queue that takes up a burst and empties again is good. One that stands is not: everyone waits longer and
nothing is done sooner. So, after CoDel (Nichols and Jacobson, 2012) as servers use it (Maurer, "Fail at
Scale", 2015): normally calls are let in up to the longest wait that the operator allows. Once no interactive
item has waited for less than the target for an `INTERVAL`, they are let in only up to the target, until all
have waited for less than half of it, and nobody was refused, for a while (`CALM`). Short waits alone are no
calm: it may be the low bound that keeps them short, by what it refuses.

    waits below the target ─▶ bound = max_wait ─▶ above, for an interval ─▶ bound = target ─▶ calm ─▶ …

Work that fills the device for as long as the target is always let in, so that shedding never leaves it idle:
this is why the target is several batches where batches take long. Callers who each wait for their answer
before they ask again are no overload, though a few hundred of them keep a queue of some batches for ever.
"""

from __future__ import annotations

__all__ = ["Shedding"]

TARGET = 0.25
TARGET_BATCHES = 8
"""Seconds, or so many full batches where those take longer: how long interactive work may wait for ever."""
INTERVAL = 0.5
"""Seconds that a burst may take."""
CALM = 2.0
"""Seconds. While little is asked for, a low bound refuses nothing; leaving it early lets the next wave in."""
STALE = 5.0
"""After so many seconds without interactive work nothing is known of its waits."""


class Shedding:
    """Of one model in one frontend. Seconds everywhere."""

    def __init__(self, max_wait: float) -> None:
        """max_wait: the bound as long as no queue stands."""
        self._max_wait = max_wait
        self._target = min(TARGET, max_wait)
        self._shedding = False
        self._against_since: float | None = None
        """Since when the waits say that it should be otherwise."""
        self._observed = 0.0

    def observe(self, wait: float, batch_seconds: float, now: float) -> None:
        """An interactive item has waited so long. batch_seconds: what a full batch takes."""
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
        """A call was refused for want of room: more is asked for than is let in."""
        if self._shedding:
            self._against_since = None

    def bound(self, now: float) -> float:
        """The longest expected wait at which work is let in."""
        return self._target if self._shedding and now - self._observed < STALE else self._max_wait
