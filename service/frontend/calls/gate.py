"""Which calls a frontend lets in: all of them until it drains, none from then on."""

from __future__ import annotations

import asyncio

from service.frontend.api.errors import Draining

__all__ = ["Gate"]


class Gate:
    """Counts the calls of all transports that were let in. Once closed it lets none in, and tells when the
    last one has left."""

    def __init__(self) -> None:
        self.active = 0
        self.last_call = asyncio.Event()
        """Set during a drain: streams that are still open read no further, so that they end in time."""
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def closed(self) -> bool:
        """Whether the frontend drains."""
        return self._closed

    def enter(self) -> None:
        """Lets a call in; `leave` must follow. Raises Draining."""
        if self._closed:
            raise Draining
        self.active += 1
        self._idle.clear()

    def stay(self) -> None:
        """A call that is about to leave stays until its client has read the answer: it leaves twice."""
        self.active += 1

    def leave(self) -> None:
        """The call has its answer."""
        self.active -= 1
        if self.active == 0:
            self._idle.set()

    def close(self) -> None:
        """Refuses every call from now on. Those that were let in go on, streams until `last_call`."""
        self._closed = True

    async def idle(self) -> None:
        """Returns once no call is in flight."""
        await self._idle.wait()
