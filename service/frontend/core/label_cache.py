"""The cache of class labels' vectors.

A label's vector depends on the weights and on the prompts, so both stand in its key.
"""

from __future__ import annotations

from typing import NamedTuple

from service.frontend.api.messages import Matrix
from service.frontend.compute.lru import Lru

__all__ = ["LabelCache", "LabelKey", "LabelVector"]

_OVERHEAD = 512
"""About how many bytes the Python objects around an entry take."""


class LabelKey(NamedTuple):
    """templates: the prompts themselves, shared by all labels of a call."""

    model: str
    revision: str
    templates: tuple[str, ...]
    label: str


class LabelVector(NamedTuple):
    """vector: float32 [dimension], of length 1. truncated: whether some prompt was cut."""

    vector: Matrix
    truncated: bool


class LabelCache(Lru[LabelKey, LabelVector]):
    """The cache of all models of a frontend."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, weight)

    def put(self, key: LabelKey, value: LabelVector) -> None:
        """Keeps a copy of the vector, so that it does not hold the matrix it is a row of."""
        super().put(key, LabelVector(value.vector.copy(), value.truncated))


def weight(key: LabelKey, entry: LabelVector) -> int:
    """The bytes of an entry, with all its templates: equal templates of another call are other objects."""
    return entry.vector.nbytes + 4 * len(key.label) + 4 * sum(map(len, key.templates)) + _OVERHEAD
