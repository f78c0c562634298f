"""Single flight: equal work that is under way is done once, and all who want it wait for the same task.

    join ─▶ Seat ─ await ─▶ the result, or the exception, of the one task for this key
              └─ leave: the last one to leave ends the task; until then others may join

Interactive work does not join bulk work, which would keep it waiting: it begins the work anew, and others
join that. This is for decoding and for work of many items. Single items have `coalescing.py`, without a task
for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Hashable
from typing import Any, Generic, TypeVar

from worker.runtime.notices import Priority

__all__ = ["Seat", "SingleFlight"]

Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class _Shared(Generic[Result]):
    __slots__ = ("holders", "priority", "task")

    def __init__(self, task: asyncio.Task[Result], priority: Priority) -> None:
        self.task = task
        self.priority = priority
        self.holders = 0


class SingleFlight(Generic[Key, Result]):
    """All work of one kind that is under way. Lives on one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Key, _Shared[Result]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def join(
        self, key: Key, priority: Priority, work: Callable[[], Coroutine[Any, Any, Result]]
    ) -> Seat[Result]:
        """A seat among those who wait for this key's result; `leave` must follow. work: of the first one."""
        leads = not self.joinable(key, priority)
        if leads:
            shared = self._under_way[key] = _Shared(asyncio.create_task(work()), priority)
            shared.task.add_done_callback(lambda task: self._ended(key, shared))
        else:
            shared = self._under_way[key]
        shared.holders += 1
        return Seat(shared, leads, lambda: self._left(key, shared))

    def joinable(self, key: Key, priority: Priority) -> bool:
        """Whether `join` would find work under way."""
        shared = self._under_way.get(key)
        return shared is not None and shared.priority <= priority

    def _ended(self, key: Key, shared: _Shared[Result]) -> None:
        # The exception is retrieved, so that asyncio does not report one for which nobody waited.
        if shared.task.cancelled() or shared.task.exception() is not None:
            self._forget(key, shared)

    def _left(self, key: Key, shared: _Shared[Result]) -> None:
        shared.holders -= 1
        if shared.holders == 0:
            shared.task.cancel()
            self._forget(key, shared)

    def _forget(self, key: Key, shared: _Shared[Result]) -> None:
        if self._under_way.get(key) is shared:
            del self._under_way[key]


class Seat(Generic[Result]):
    """One that waits for a result. leads: whether the work was begun for this one."""

    __slots__ = ("_shared", "leads", "leave")

    def __init__(self, shared: _Shared[Result], leads: bool, leave: Callable[[], None]) -> None:
        self._shared = shared
        self.leads = leads
        self.leave = leave

    def when_done(self, call: Callable[[], None]) -> None:
        """Calls this when the work has ended, however it did, before any that wait for it go on."""
        self._shared.task.add_done_callback(lambda _: call())

    def __await__(self) -> Generator[Any, None, Result]:
        return asyncio.shield(self._shared.task).__await__()
