"""What the answers that come in together tell about the batches that they were in. No I/O.

answers ─▶ grouped by batch ─▶ Batch, for the forecast
                           └─▶ a span, where calls are traced; each of their flights gets its journey
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from altclip.tracing import names
from service.frontend.compute.flights import Batch, Flight, Journey, TracedBatch
from worker.runtime.notices import Modality, Priority, Result, Status

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Attributes, Tracing

__all__ = ["batches", "trace_batches"]

Answer = tuple[Flight, Result]


def batches(ended: Iterable[Answer], costs: Sequence[int], bulk_since: float = math.inf) -> Iterator[Batch]:
    """The batches of these answers, which stand in the order in which they came.

    costs: of a full batch, by modality. bulk_since: when the oldest bulk item was submitted that is in no
    batch so far.
    """
    for own in _groups(ended):
        flight, result = own[0]
        waits = [result.queue for flight, result in own if flight.priority is Priority.INTERACTIVE]
        bulk = len(own) - len(waits)
        left = bulk_since < math.inf and bulk_since < max(
            flight.submitted + result.queue for flight, result in own
        )
        fill = _fill(own, costs)
        yield Batch(
            flight.item.modality,
            len(own),
            result.batch,
            fill,
            result.inference,
            min(waits, default=None),
            bulk,
            left,
        )


def trace_batches(tracing: Tracing, ended: Sequence[Answer], costs: Sequence[int], device: str) -> None:
    """Gives every traced flight its journey, and every batch that holds one a span."""
    if not any(flight.traces for flight, _ in ended):
        return
    for flight, result in ended:
        if flight.traces and result.status != Status.OK:
            error = "INTERNAL" if result.status == Status.FAILED else "DEADLINE_TOO_SHORT"
            flight.journey = Journey(flight.submitted, flight.submitted + result.queue, None, error)
    for own in _groups(ended):
        traced = [flight for flight, _ in own if flight.traces]
        if not traced:
            continue
        first, result = own[0]
        size, modality = result.batch, first.item.modality
        begun = first.submitted + result.queue
        # The items of other frontends are known by their number alone, and taken to be like ours.
        fill = round(min(1.0, _fill(own, costs) * size / len(own)), 4)
        attributes: Attributes = {
            names.MODALITY: modality.label,
            names.BATCH_SIZE: size,
            names.BATCH_FILL: fill,
            names.DEVICE: device,
        }
        calls = [trace.context for flight in traced for trace in flight.traces or ()]
        span = tracing.batch(begun, begun + result.inference, attributes, calls)
        batch = TracedBatch(begun, begun + result.inference, attributes, span)
        for flight in traced:
            flight.journey = Journey(flight.submitted, begun, batch)


def _groups(ended: Iterable[Answer]) -> Iterator[Sequence[Answer]]:
    """The answers that were computed, those of one batch together."""
    own: list[Answer] = []
    for answer in ended:
        if answer[1].status != Status.OK:
            continue
        if own and not _together(own[0], answer):
            yield own
            own = []
        own.append(answer)
    if own:
        yield own


def _together(one: Answer, other: Answer) -> bool:
    """Whether both were computed in the same batch."""
    modality, result = one[0].item.modality, one[1]
    return (result.batch, result.inference, modality) == (
        other[1].batch,
        other[1].inference,
        other[0].item.modality,
    )


def _fill(own: Sequence[Answer], costs: Sequence[int]) -> float:
    """The part of a full batch that these items take up."""
    modality = own[0][0].item.modality
    cost = len(own)
    if modality is not Modality.IMAGE:
        cost = sum(len(flight.item.payload) for flight, _ in own)
    return cost / costs[modality]
