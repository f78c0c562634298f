"""The words of the queue: what kinds of work there are, who goes first, and how a job can end. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from worker.runtime.slab import Result, Slab

__all__ = ["Job", "Modality", "Origin", "Priority", "Status"]


class Modality(IntEnum):
    """What a job asks of the encoder. The lower-case name is the metrics label."""

    TEXT = 0
    IMAGE = 1
    PROMPT = 2

    @property
    def label(self) -> str:
        return _MODALITIES[self]


class Priority(IntEnum):
    """Who goes first. The lower-case name is the metrics label."""

    INTERACTIVE = 0
    BULK = 1

    @property
    def label(self) -> str:
        return _PRIORITIES[self]


# An enum's own `name` takes a microsecond, and these are asked for with every item.
_MODALITIES = tuple(modality.name.lower() for modality in Modality)
_PRIORITIES = tuple(priority.name.lower() for priority in Priority)


class Status(IntEnum):
    """How a job ended. Every job that was sent ends exactly once, and with that its slot is free again."""

    OK = 0
    FAILED = 1
    """The encoder raised for this item alone."""
    EXPIRED = 2
    """Its deadline passed before it reached the encoder."""
    CANCELLED = 3
    """Its caller went before it reached the encoder."""


class Origin(Protocol):
    """Whom a job came from and goes back to. Sending to one that is gone does nothing."""

    index: int
    slab: Slab

    def send(self, results: Sequence[Result]) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One item in a worker's queue.

    cost: what it weighs in a batch, tokens for text and prompts, 1 for an image. length: the number of values
    in its slot, token ids or pixel bytes. submitted, deadline: time.monotonic() seconds (one clock for the
    whole host); deadline may be infinite.
    """

    id: int
    origin: Origin
    slot: int
    modality: Modality
    priority: Priority
    variant: int
    length: int
    cost: int
    submitted: float
    deadline: float
    cancelled: bool = False
