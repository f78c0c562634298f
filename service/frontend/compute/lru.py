"""A cache that is bounded by bytes: the least recently used entry goes first. Imports nothing of ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """most_bytes: 0 keeps nothing. weight: the bytes of an entry, the same whenever it is asked."""

    def __init__(self, most_bytes: int, weight: Callable[[Key, Value], int]) -> None:
        self.bytes = 0
        self.most_bytes = most_bytes
        self._weight = weight
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of this key, which becomes the most recently used; None if there is none."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, value: Value) -> None:
        """Keeps a value in place of the key's older one, unless it is larger than the whole cache."""
        size = self._weight(key, value)
        if size > self.most_bytes:
            return
        self.drop(key)
        self._entries[key] = value
        self.bytes += size
        while self.bytes > self.most_bytes:
            self.bytes -= self._weight(*self._entries.popitem(last=False))

    def drop(self, key: Key) -> None:
        """Forgets the value of this key, if there is one."""
        if (old := self._entries.pop(key, None)) is not None:
            self.bytes -= self._weight(key, old)
