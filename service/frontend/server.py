"""What a frontend serves: one core, and the transports that it is handed. Imports no transport.

    start   core ─▶ every transport listens
    drain   health says NOT_SERVING, the gate closes: new calls get DRAINING ─▶ a moment later connections
            are told to go ─▶ streams read no further ─▶ the admitted calls have ended ─▶ closed

A transport is handed in as its `listen` function (`frontend/grpc/server.py` has one). It makes a
`frontend.calls.lifecycle.Lifecycle` of `core.gate`, `callers` and `core.metrics`, and answers from `core`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from service.config import operator_files
from service.config.settings import Settings
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.compute.pool import Pools
from service.frontend.core.core import Core
from worker.runtime import logs
from worker.runtime.metrics import Metrics

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Tracing

__all__ = ["Listen", "Server", "Transport", "start"]

LINGER = 0.2
"""Seconds between refusing calls and closing connections. Calls that reach a connection in the moment it is
closed end CANCELLED, which clients do not retry. A call that was refused before waits in that moment: it was
told to come again later than that."""
STREAMS_SHARE = 0.5
"""Part of the grace in which a stream may go on as before. One that has not ended by then is read no further,
gets its answers, and ends with DRAINING: its client sends the rest to another server."""
LAST_WORDS = 2.0
"""Seconds for answers and trailers to leave after the last call has ended. Then connections are cut off."""

_log = logs.get("server")


class Transport(Protocol):
    """A way in that listens. All methods are called on the frontend's event loop."""

    @property
    def name(self) -> str:
        """ "grpc" or "http": the key of its address in the `listening` message."""

    @property
    def address(self) -> str:
        """host:port that it listens on; the real port where the settings say 0."""

    def workers_changed(self) -> None:
        """The readiness of some model may have changed: health tells those who watch it."""

    def file_changed(self, name: str) -> None:
        """The operator's file of that name is another now. The keys are in use already."""

    def drain(self) -> None:
        """The frontend shuts down: health says NOT_SERVING from now on. The gate refuses the calls."""

    async def stop(self, grace: float) -> None:
        """Takes no more connections and tells those that are open to go.

        Returns when the last handler has ended, at the latest after `grace` seconds.
        """

    async def close(self) -> None:
        """Cuts off what is left; `stop` returns."""


Listen = Callable[[Core, Callers, Mapping[str, bytes]], Awaitable[Transport]]
"""Listens where the settings say. It is given the core, the callers and the operator's files by name, a
mapping that changes (see `Transport.file_changed`). Raises OSError when it cannot have the address."""


class Server:
    """One frontend that listens."""

    def __init__(
        self, core: Core, callers: Callers, files: Mapping[str, bytes], transports: Sequence[Transport]
    ) -> None:
        self.core = core
        self._callers = callers
        self._files = files
        self._transports = transports

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each transport, by its name."""
        return {transport.name: transport.address for transport in self._transports}

    def file_changed(self, name: str) -> None:
        """One of the operator's files is another now."""
        if name == operator_files.API_KEYS and (
            keys := operator_files.keyring(self.core.settings, self._files)
        ):
            self._callers.change(keys)
        for transport in self._transports:
            transport.file_changed(name)

    async def drain(self, grace: float) -> int:
        """Returns once every admitted call has its answer, at the latest after `grace` seconds.

        Returns how many calls it then cut off.
        """
        loop = asyncio.get_running_loop()
        gate = self.core.gate
        cut_off = 0
        until = time.monotonic() + grace
        for transport in self._transports:
            transport.drain()
        self.core.drain()
        await _linger(min(LINGER, grace))
        left = max(0.0, until - time.monotonic())
        stopping = [asyncio.create_task(transport.stop(left)) for transport in self._transports]
        loop.call_later(grace * STREAMS_SHARE, gate.last_call.set)
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await gate.idle()
        except TimeoutError:
            cut_off = gate.active
            _log.warning("drain_incomplete", "calls were cut off", calls=cut_off)
        # A client that watches the health and reads nothing would hold the server for the whole grace.
        await asyncio.wait(stopping, timeout=min(LAST_WORDS, max(0.1, until - time.monotonic())))
        await _close(self._transports)
        await asyncio.gather(*stopping)
        await self.core.close()
        return cut_off


async def start(
    settings: Settings,
    pools: Pools,
    metrics: Metrics,
    files: Mapping[str, bytes],
    transports: Sequence[Listen],
    totals: Metrics | None = None,
    tracing: Tracing | None = None,
) -> Server:
    """Makes the core, and listens with each of these transports, one or more.

    files: the operator's, by name; see `Server.file_changed`. totals, tracing: as in `Core`. Raises OSError
    when a transport cannot have its address.
    """
    callers = Callers(operator_files.keyring(settings, files))
    core = Core(settings, pools, metrics, Gate(), totals, tracing)
    listening: list[Transport] = []

    def changed() -> None:
        for transport in listening:
            transport.workers_changed()
        core.workers_changed()

    pools.changed = changed
    try:
        for listen in transports:
            listening.append(await listen(core, callers, files))  # noqa: PERF401 - those are closed on an error
    except BaseException:
        await _close(listening)
        await core.close()
        raise
    return Server(core, callers, files, listening)


async def _linger(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _close(transports: Sequence[Transport]) -> None:
    await asyncio.gather(*(transport.close() for transport in transports))
