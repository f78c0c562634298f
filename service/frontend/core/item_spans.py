"""The spans of a call's items, made when they have ended: their waits in the queue, and their batches.

Items that were in one batch share two spans, however many they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from altclip.tracing import names
from service.frontend.compute.flights import Flight, Outcome, TracedBatch

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Attributes, Trace

__all__ = ["add_item_spans"]


def add_item_spans(
    trace: Trace,
    flights: Mapping[int, Flight],
    outcomes: Sequence[Outcome | None],
    tokens: Sequence[int],
) -> None:
    """Adds them below `trace`, and counts the items for the call's span.

    flights: by an item's index, of those that were not found in the cache; one that has not landed has no
    spans. outcomes, tokens: of every item.
    """
    cached = sum(
        index not in flights and outcome is not None and outcome.error is None
        for index, outcome in enumerate(outcomes)
    )
    trace.count(names.ITEMS, len(outcomes))
    trace.count(names.CACHED, cached)
    trace.count(names.INPUT_TOKENS, sum(tokens))
    together: dict[tuple[TracedBatch | None, str], list[Flight]] = {}
    for flight in dict.fromkeys(flights.values()):
        if (journey := flight.journey) is not None:
            together.setdefault((journey.batch, journey.error), []).append(flight)
    for (batch, error), own in together.items():
        journeys = [flight.journey for flight in own if flight.journey is not None]
        submitted = min(journey.submitted for journey in journeys)
        begun = max(journey.begun for journey in journeys)
        facts: Attributes = {names.MODALITY: own[0].item.modality.label, names.ITEMS: len(own)}
        trace.add(names.QUEUE, submitted, begun, facts, error=error)
        if batch is not None:
            trace.add(names.INFERENCE, batch.begun, batch.ended, {**facts, **batch.attributes}, [batch.span])
