"""How long new work would wait for a device, from what batches have taken so far. Pure: no clock, no I/O.

    Batch ─▶ observe ─▶ how much of a batch an item fills, and how long a full batch takes
    items that are ahead × what an item fills × seconds of a full batch ÷ our share = seconds

A batch that is not full tells little of how long a full one takes, so it counts only as far as it is full:
before there was load the forecast is too low, not too high, and work is let in. What was never measured takes
no time at all. Where several frontends feed a worker, each finds its own items among those of others in a
batch: its share of them is the speed at which its own queue moves.

Bulk work gets what interactive work leaves of the device, and beside it workers hold it back. How fast it
moves is measured by the batches that some of it had to wait for: what they did of it, in the seconds that
this takes alone, of the seconds that they took. A batch that took all there was of it tells that nothing
holds it back, and counts only as far as it is full of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.frontend.compute.flights import Batch
from service.frontend.compute.moving_average import blend
from worker.runtime.notices import Modality

__all__ = ["Forecast"]

LEARNING = 0.3
"""How much of what is expected a full batch replaces with what it took."""
LEAST_SHARE = 1 / 64
"""Neither our share of the device nor bulk work's is taken to be less."""


class Forecast:
    """Of one model in one frontend; whatever its devices are, they are taken to be alike."""

    def __init__(self) -> None:
        self._full = dict.fromkeys(Modality, 0.0)
        self._part = dict.fromkeys(Modality, 0.0)
        self._share = 1.0
        self._each = [0.0] * len(Modality)
        """Seconds of an item of each modality, by the three above: this is asked for with every call."""
        self._bulk_done = self._bulk_took = 0.0

    @property
    def batch_seconds(self) -> float:
        """What a full batch takes, of the slowest kind that was seen; 0.0 before the first."""
        return max(self._full.values())

    def batch_of(self, items: Sequence[int]) -> float:
        """The same of the slowest of these kinds."""
        return max((self._full[kind] for kind in Modality if items[kind]), default=0.0)

    @property
    def bulk_speed(self) -> float:
        """What bulk work gets of the device, as long as it has enough to do; 1.0 before any had to wait."""
        return max(LEAST_SHARE, self._bulk_done / self._bulk_took) if self._bulk_took else 1.0

    def observe(self, batch: Batch) -> None:
        """A batch has ended."""
        kind = batch.modality
        whole = min(1.0, batch.fill * batch.of / batch.items)
        self._full[kind] = blend(self._full[kind], batch.seconds, LEARNING * whole)
        self._part[kind] = blend(self._part[kind], batch.fill / batch.items, LEARNING)
        self._share = max(LEAST_SHARE, blend(self._share, batch.items / batch.of, LEARNING))
        self._each = [self._part[each] * self._full[each] / self._share for each in Modality]
        if batch.bulk or batch.left:
            if not self._bulk_took:
                self._bulk_done = self._bulk_took = batch.seconds
            done = min(batch.seconds, batch.bulk * self._each[kind])
            took = batch.seconds if batch.left else done
            self._bulk_done += LEARNING * (done - self._bulk_done)
            self._bulk_took += LEARNING * (took - self._bulk_took)

    def seconds(self, items: Sequence[int]) -> float:
        """Until one device has done so many items of each modality."""
        texts, images, prompts = self._each
        return items[0] * texts + items[1] * images + items[2] * prompts
