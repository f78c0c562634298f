"""What callers ask of the core and what it answers, in plain Python and numpy: no proto, no HTTP.

Every transport translates into these and back. The enums have the numbers of the public API, so that a
transport only has to check them (`validation.choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.frontend.api.errors import ServiceError

__all__ = [
    "Classification",
    "Classified",
    "Embedded",
    "Encoding",
    "Image",
    "Item",
    "Matrix",
    "Options",
    "Orientation",
    "Prompts",
    "ScoreRow",
    "Scored",
    "Scores",
    "StreamItem",
    "StreamResults",
    "Timings",
    "Variant",
]

Matrix = npt.NDArray[np.float32]


class Encoding(IntEnum):
    """How the numbers of an embedding are written."""

    FLOAT32 = 1
    FLOAT16 = 2
    INT8 = 3
    BINARY = 4


class Orientation(IntEnum):
    """Whether a picture is turned as its EXIF data says, before it is resized."""

    AS_STORED = 1
    UPRIGHT = 2


class Scores(IntEnum):
    """What a similarity score is."""

    COSINE = 1
    LOGIT = 2
    PROBABILITY = 3


class Variant(IntEnum):
    """Which states of a prompt are wanted; the numbers are those of `WorkItem.variant`."""

    ALTDIFFUSION = 0
    ALTCLIP = 1


@dataclass(frozen=True, slots=True)
class Options:
    """How embeddings are wanted. reject: texts of too many tokens are refused and not cut."""

    encoding: Encoding = Encoding.FLOAT32
    normalize: bool = True
    reject: bool = False
    orientation: Orientation = Orientation.AS_STORED


class Image(NamedTuple):
    """A picture: its file, or an address. Exactly one of the two must be given."""

    content: bytes | None = None
    uri: str | None = None


class Item(NamedTuple):
    """One side of a comparison: exactly one of the three must be given. vector: little-endian float32."""

    text: str | None = None
    image: Image | None = None
    vector: bytes | None = None


class StreamItem(NamedTuple):
    """One item of a stream. id: the caller's name for it. Exactly one of text and image must be given."""

    id: str
    text: str | None = None
    image: Image | None = None


class Timings(NamedTuple):
    """The longest wait and the longest batch of a call's items, in seconds, and the largest batch."""

    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0

    def merge(self, other: Timings) -> Timings:
        """The timings of both together."""
        return Timings(
            max(self.queue_seconds, other.queue_seconds),
            max(self.inference_seconds, other.inference_seconds),
            max(self.batch_size, other.batch_size),
        )


class Embedded(NamedTuple):
    """Embeddings of texts or images.

    rows: float32 [n, dimension], as `Options.normalize` says. token_counts, truncated: of texts only.
    """

    model: str
    revision: str
    rows: Matrix
    timings: Timings
    token_counts: Sequence[int] = ()
    truncated: Sequence[int] = ()


class ScoreRow(NamedTuple):
    """The scores of one query, float32 [n]; with `top_k` also the candidates' indices, best first."""

    scores: Matrix
    indices: npt.NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class Scored:
    """One row for each query. truncated: indices of the texts that were cut, in queries + candidates."""

    model: str
    revision: str
    logit_scale: float
    rows: Sequence[ScoreRow]
    timings: Timings
    truncated: Sequence[int]


class Classification(NamedTuple):
    """Indices of labels and their probabilities, float32 [n], in the order of the answer."""

    indices: npt.NDArray[np.uint32]
    probabilities: Matrix


@dataclass(frozen=True, slots=True)
class Classified:
    """One classification for each image. truncated: indices of the labels of which a prompt was cut."""

    model: str
    revision: str
    results: Sequence[Classification]
    timings: Timings
    truncated: Sequence[int]


@dataclass(frozen=True, slots=True)
class Prompts:
    """states: float32 [n, max_tokens, state_dimension]. attention_mask: uint8 [n, max_tokens], 1 = token."""

    model: str
    revision: str
    states: Matrix
    attention_mask: npt.NDArray[np.uint8]
    timings: Timings
    truncated: Sequence[int]


@dataclass(slots=True)
class StreamResults:
    """Some results of a stream. Row i belongs to ids[i]; `errors` are pairs of an item's id and its error.

    rows: blocks of float32 [some, dimension], one after another. token_counts: one for each of `ids`, 0 for
    an image. truncated: indices in `ids`.
    """

    ids: list[str] = field(default_factory=list)
    rows: list[Matrix] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    errors: list[tuple[str, ServiceError]] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    revision: str = ""

    def __len__(self) -> int:
        return len(self.ids) + len(self.errors)

    def extend(self, other: StreamResults) -> None:
        """Adds results that were ready at the same time."""
        self.truncated += [len(self.ids) + index for index in other.truncated]
        self.ids += other.ids
        self.rows += other.rows
        self.token_counts += other.token_counts
        self.errors += other.errors
        self.timings = self.timings.merge(other.timings)
        self.revision = other.revision
