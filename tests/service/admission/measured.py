"""An `Admission` that has seen batches, on a clock of its own."""

from __future__ import annotations

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Cost
from service.frontend.compute.flights import Batch
from worker.runtime.notices import Modality


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def texts(count: int) -> Cost:
    return Cost(texts=count)


def measured(clock: Clock, *, items: int = 1000, seconds: float = 10.0, workers: int = 1) -> Admission:
    """One that has seen a full batch: ten texts in one second, so a text is a tenth of a second of work."""
    admission = Admission(Bounds(items, seconds=seconds), clock=clock, jitter=False, workers=lambda: workers)
    admission.observe(Batch(Modality.TEXT, items=10, of=10, fill=1.0, seconds=1.0, wait=0.0))
    return admission


def waited(seconds: float) -> Batch:
    """A full batch whose interactive items had waited so long."""
    return Batch(Modality.TEXT, items=10, of=10, fill=1.0, seconds=1.0, wait=seconds)


def held_back(admission: Admission) -> None:
    """Interactive work leaves bulk work, some of which has to wait, a tenth of each batch."""
    for _ in range(40):
        admission.observe(Batch(Modality.TEXT, 10, 10, 1.0, 1.0, 0.0, bulk=1, left=True))
