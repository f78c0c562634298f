"""What is kept for later, bounded by bytes: the least recently used goes first. Imports nothing of ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """`most_bytes` 0 keeps nothing. weight: the bytes that an entry takes, the same whenever it is asked."""

    def __init__(self, most_bytes: int, weight: Callable[[Key, Value], int]) -> None:
        self.bytes = 0
        self.most_bytes = most_bytes
        self._weight = weight
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """What is known under this key, which makes it recent."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, value: Value) -> None:
        """Keeps it, in place of what was known; unless it alone is too large."""
        size = self._weight(key, value)
        if size > self.most_bytes:
            return
        self.drop(key)
        self._entries[key] = value
        self.bytes += size
        while self.bytes > self.most_bytes:
            self.bytes -= self._weight(*self._entries.popitem(last=False))

    def drop(self, key: Key) -> None:
        """Forgets what is known under this key, if anything is."""
        if (old := self._entries.pop(key, None)) is not None:
            self.bytes -= self._weight(key, old)
