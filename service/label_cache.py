"""Vectors of class labels that were computed before: least recently used go first, bounded by bytes.

A label's vector depends on the weights and on the prompts, so both stand in its key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from service.messages import Matrix

__all__ = ["LabelCache", "LabelKey", "LabelVector"]

_OVERHEAD = 512
"""Bytes of Python objects around an entry, about."""


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


class LabelCache:
    """`most_bytes` 0 keeps nothing."""

    def __init__(self, most_bytes: int) -> None:
        self.bytes = 0
        self._most_bytes = most_bytes
        self._entries: OrderedDict[LabelKey, LabelVector] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, keys: Sequence[LabelKey]) -> list[LabelVector | None]:
        """What is known of each, which makes it recent."""
        found = [self._entries.get(key) for key in keys]
        for key, entry in zip(keys, found, strict=True):
            if entry is not None:
                self._entries.move_to_end(key)
        return found

    def put(self, key: LabelKey, entry: LabelVector) -> None:
        """Keeps a copy of the vector, so that it does not hold the matrix it is a row of."""
        size = weight(key, entry)
        if size > self._most_bytes:
            return
        if (old := self._entries.pop(key, None)) is not None:
            self.bytes -= weight(key, old)
        self._entries[key] = LabelVector(entry.vector.copy(), entry.truncated)
        self.bytes += size
        while self.bytes > self._most_bytes:
            self.bytes -= weight(*self._entries.popitem(last=False))


def weight(key: LabelKey, entry: LabelVector) -> int:
    """Bytes an entry takes. Its templates are charged whole: another call's equal ones are other objects."""
    return entry.vector.nbytes + 4 * len(key.label) + 4 * sum(map(len, key.templates)) + _OVERHEAD
