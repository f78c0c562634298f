"""The words of the queue: what kinds of work there are, who goes first, and how a job can end. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Job", "Modality", "Priority", "Status"]


class Modality(IntEnum):
    """What a job asks of the encoder. The lower-case name is the metrics label."""

    TEXT = 0
    IMAGE = 1
    PROMPT = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Priority(IntEnum):
    INTERACTIVE = 0
    BULK = 1


class Status(IntEnum):
    """How a job ended. Every job that was sent ends exactly once, and with that its slot is free again."""

    OK = 0
    FAILED = 1
    """The encoder raised for this item alone."""
    EXPIRED = 2
    """Its deadline passed before it reached the encoder."""
    CANCELLED = 3
    """Its caller went before it reached the encoder."""


@dataclass(slots=True, eq=False)
class Job:
    """One item in a worker's queue.

    cost: what it weighs in a batch, tokens for text and prompts, 1 for an image. length: the number of values in its
    slot, token ids or pixel bytes. submitted, deadline: time.monotonic() seconds (one clock for the whole host);
    deadline may be infinite. link: the index of the frontend link it came by.
    """

    id: int
    link: int
    slot: int
    modality: Modality
    priority: Priority
    variant: int
    length: int
    cost: int
    submitted: float
    deadline: float
    cancelled: bool = False
