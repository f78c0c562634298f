"""How long new work would wait for a device, from what batches have taken so far. Pure: no clock, no I/O.

    Batch ─▶ observe ─▶ how much of a batch an item fills, and how long a full batch takes
    items that are ahead × what an item fills × seconds of a full batch ÷ our share = seconds

A batch that is not full tells little about how long a full one takes, so it counts only in proportion to how
full it is. Before there was load, the forecast is therefore too low and not too high, and work is let in.
What was never measured is taken to need no time. Where several frontends feed a worker, a batch also holds
items of others: our share of its items is the speed at which our own queue moves.

Workers hold bulk work back while there is interactive work. Its speed is measured by the batches after which
some bulk work still had to wait: the seconds that their bulk items need alone, divided by the seconds that
the batches took. A batch that took all bulk work there was shows that nothing holds it back, and counts only
in proportion to its bulk items.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.frontend.compute.flights import Batch
from service.frontend.compute.moving_average import blend
from worker.runtime.notices import Modality

__all__ = ["Forecast"]

_MODALITIES = tuple(Modality)  # to go through an enum takes a microsecond
LEARNING = 0.3
"""The weight of a new full batch in the averages."""
LEAST_SHARE = 1 / 64
"""The least that our share of the device, and that of bulk work, is taken to be."""


class Forecast:
    """The forecast of one model in one frontend. Its devices are taken to be alike."""

    def __init__(self) -> None:
        self._full = dict.fromkeys(Modality, 0.0)
        self._part = dict.fromkeys(Modality, 0.0)
        self._share = 1.0
        self._each = [0.0] * len(Modality)
        """Seconds of one item of each modality, from the three above: every call needs them."""
        self._bulk_done = self._bulk_took = 0.0

    @property
    def batch_seconds(self) -> float:
        """Seconds of a full batch of the slowest modality that was seen; 0.0 before the first."""
        return max(self._full.values())

    def batch_of(self, items: Sequence[int]) -> float:
        """The same for the slowest of the modalities of these items."""
        return max((self._full[kind] for kind in _MODALITIES if items[kind]), default=0.0)

    @property
    def bulk_speed(self) -> float:
        """The part of the device that bulk work gets where it has to wait; 1.0 before any had to."""
        return max(LEAST_SHARE, self._bulk_done / self._bulk_took) if self._bulk_took else 1.0

    def observe(self, batch: Batch) -> None:
        """A batch has ended."""
        kind = batch.modality
        whole = min(1.0, batch.fill * batch.of / batch.items)
        self._full[kind] = blend(self._full[kind], batch.seconds, LEARNING * whole)
        self._part[kind] = blend(self._part[kind], batch.fill / batch.items, LEARNING)
        self._share = max(LEAST_SHARE, blend(self._share, batch.items / batch.of, LEARNING))
        self._each = [self._part[each] * self._full[each] / self._share for each in _MODALITIES]
        if batch.bulk or batch.left:
            if not self._bulk_took:
                self._bulk_done = self._bulk_took = batch.seconds
            done = min(batch.seconds, batch.bulk * self._each[kind])
            took = batch.seconds if batch.left else done
            self._bulk_done += LEARNING * (done - self._bulk_done)
            self._bulk_took += LEARNING * (took - self._bulk_took)

    def seconds(self, items: Sequence[int]) -> float:
        """Seconds until one device has computed so many items of each modality."""
        texts, images, prompts = self._each
        return items[0] * texts + items[1] * images + items[2] * prompts
