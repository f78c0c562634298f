"""Items on their way to workers and back, and the outcome of each. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from service.frontend.api.errors import ServiceError
from worker.runtime.notices import Modality, Priority

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from service.frontend.calls.tracing import Attributes, Trace

__all__ = ["Batch", "Flight", "Journey", "Link", "Outcome", "TracedBatch", "WorkItem"]


class WorkItem(NamedTuple):
    """One thing to compute.

    payload: TEXT and PROMPT int32 [tokens], special tokens included, not padded; IMAGE uint8 [size, size, 3].
    variant: of a PROMPT, 0 for AltDiffusion's states, 1 for AltCLIP's.
    """

    modality: Modality
    payload: npt.NDArray[np.int32] | npt.NDArray[np.uint8]
    variant: int = 0


class Outcome(NamedTuple):
    """The outcome of one item: `value` or `error`.

    value: TEXT and IMAGE float32 [dimension], not normalised; PROMPT float32 [max_tokens, state_dimension].
    Times in seconds; batch_size counts all items that were computed together.
    """

    value: npt.NDArray[np.float32] | None
    error: ServiceError | None = None
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0


class Batch(NamedTuple):
    """What a frontend learns about one batch that has ended.

    items: of this frontend, `of`: all in the batch. fill: the part of a full batch that our items took up.
    seconds: how long the batch took. wait: the shortest wait of our interactive items, None without one.
    bulk: how many of our items were bulk work. left: more of our bulk work was there and had to wait.
    """

    modality: Modality
    items: int
    of: int
    fill: float
    seconds: float
    wait: float | None
    bulk: int = 0
    left: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TracedBatch:
    """A batch that has a span. Times are time.monotonic() seconds, as in `Journey`. span: its context."""

    begun: float
    ended: float
    attributes: Attributes
    span: SpanContext


class Journey(NamedTuple):
    """When a traced flight was submitted, and when its wait ended.

    batch: None where it was computed in none; error says why.
    """

    submitted: float
    begun: float
    batch: TracedBatch | None
    error: str = ""


class Link(Protocol):
    """The way to one worker, on which a flight was sent."""

    def take_back(self, flight: Flight) -> None:
        """Tells the worker not to compute it, if that has not begun."""


class Flight:
    """One item on its way to a worker and back. `land` takes its outcome."""

    __slots__ = (
        "abandoned",
        "deadline",
        "item",
        "job_id",
        "journey",
        "link",
        "priority",
        "slot",
        "submitted",
        "traces",
    )

    def __init__(self, item: WorkItem, priority: Priority, deadline: float | None) -> None:
        """deadline: in time.monotonic() seconds, None for none. No worker begins the item after it."""
        self.item = item
        self.priority = priority
        self.deadline = deadline
        self.abandoned = False
        """Nobody waits for it any more: its outcome will be dropped."""
        self.link: Link | None = None
        """The link it was sent on; job_id, slot and submitted belong to that link."""
        self.job_id = 0
        self.slot = 0
        self.submitted = 0.0
        self.traces: list[Trace] | None = None
        """Of the traced calls that want it; None where none does."""
        self.journey: Journey | None = None
        """Of a traced flight that has landed."""

    def traced_by(self, trace: Trace) -> None:
        """A traced call wants it."""
        if self.traces is None:
            self.traces = [trace]
        elif self.traces[-1] is not trace:
            self.traces.append(trace)

    def land(self, outcome: Outcome) -> None:
        """Called once, unless it was abandoned."""
        raise NotImplementedError
