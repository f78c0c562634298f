"""How long new work would wait for a device, from what batches have taken so far. Pure: no clock, no I/O.

    Batch ─▶ observe ─▶ how much of a batch an item fills, and how long a full batch takes
    items that are ahead × what an item fills × seconds of a full batch ÷ our share = seconds

A batch that is not full tells little of how long a full one takes, so it counts only as far as it is full:
before there was load the forecast is too low, not too high, and work is let in. What was never measured takes
no time at all. Where several frontends feed a worker, each finds its own items among those of others in a
batch: its share of them is the speed at which its own queue moves.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.work import Batch
from worker.jobs import Modality

__all__ = ["Forecast"]

LEARNING = 0.3
"""How much of what is expected a full batch replaces with what it took."""
LEAST_SHARE = 1 / 64


class Forecast:
    """Of one model in one frontend; whatever its devices are, they are taken to be alike."""

    def __init__(self) -> None:
        self._full = dict.fromkeys(Modality, 0.0)
        self._part = dict.fromkeys(Modality, 0.0)
        self._share = 1.0
        self._each = [0.0] * len(Modality)
        """Seconds of an item of each modality, by the three above: this is asked for with every call."""

    @property
    def batch_seconds(self) -> float:
        """What a full batch takes, of the slowest kind that was seen; 0.0 before the first."""
        return max(self._full.values())

    def observe(self, batch: Batch) -> None:
        """A batch has ended."""
        kind = batch.modality
        whole = min(1.0, batch.fill * batch.of / batch.items)
        self._full[kind] = blend(self._full[kind], batch.seconds, LEARNING * whole)
        self._part[kind] = blend(self._part[kind], batch.fill / batch.items, LEARNING)
        self._share = max(LEAST_SHARE, blend(self._share, batch.items / batch.of, LEARNING))
        self._each = [self._part[each] * self._full[each] / self._share for each in Modality]

    def seconds(self, items: Sequence[int]) -> float:
        """Until one device has done so many items of each modality."""
        texts, images, prompts = self._each
        return items[0] * texts + items[1] * images + items[2] * prompts


def blend(old: float, new: float, weight: float) -> float:
    """A moving average; the first value stands for itself."""
    return old + weight * (new - old) if old > 0.0 else new
