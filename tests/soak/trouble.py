"""What goes wrong, one thing at a time, at random moments: processes killed and stopped, bursts of calls.

Some processes are spared, one of each kind (`spared`): a process that lives through all of it shows whether
the deaths of others leave something behind in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import psutil

from tests.server import RunningServer
from tests.soak.plan import REAL, STUB, Plan

__all__ = ["Event", "Trouble"]

RECOVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """at: when, by the watch. recovered: seconds until every process was there again; None: never."""

    kind: str
    at: float
    recovered: float | None


@dataclass
class Trouble:
    """burst: sends a burst. clock: the watch's. workers, decoders, frontends: how many were ended."""

    server: RunningServer
    plan: Plan
    burst: Callable[[], Awaitable[None]]
    clock: Callable[[], float]
    events: list[Event] = field(default_factory=list)
    workers: int = 0
    decoders: int = 0
    frontends: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.plan.seed)
        self.spared = {
            self.server.pid: "altclip-server",
            **{
                processes[0].pid: title
                for title in ("altclip-frontend 0", f"altclip-worker {REAL} ")
                if (processes := self.server.processes(title))
            },
        }
        """Process ids, with the beginning of their title."""

    async def run(self, stop: asyncio.Event) -> None:
        """Every kind of trouble in turn, in an order that changes, until told to stop."""
        kinds = [
            self._worker_killed,
            self._worker_stopped,
            self._decoder_killed,
            self._frontend_killed,
            self._frontend_stopped,
            self._model_gone,
            self._frontend_stopped_while_a_worker_loads,
            self._burst,
        ]
        while True:
            self._random.shuffle(kinds)
            for kind in kinds:
                if await _told(stop, self._random.uniform(0.5, 1.5) * self.plan.pause):
                    return
                at, started = self.clock(), time.monotonic()
                await kind()
                back = await self._recovered()
                recovered = time.monotonic() - started if back else None
                self.events.append(Event(kind.__name__.strip("_").replace("_", " "), at, recovered))

    async def _worker_killed(self) -> None:
        await self._end(await self._victim("altclip-worker "), psutil.Process.kill)
        self.workers += 1

    async def _worker_stopped(self) -> None:
        """It owes answers, so the watchdog replaces it."""
        await self._end(await self._victim(f"altclip-worker {STUB} "), psutil.Process.suspend)
        self.workers += 1

    async def _model_gone(self) -> None:
        """All workers of a model at once."""
        victims = self.server.processes(f"altclip-worker {STUB} ")
        for victim in victims:
            victim.kill()
        for victim in victims:
            await self._gone(victim)
        self.workers += len(victims)

    async def _decoder_killed(self) -> None:
        await self._end(await self._victim("altclip-decoder "), psutil.Process.kill)
        self.decoders += 1

    async def _frontend_killed(self) -> None:
        await self._end(await self._victim("altclip-frontend "), psutil.Process.kill)
        self.frontends += 1

    async def _frontend_stopped(self) -> None:
        await self._end(await self._victim("altclip-frontend "), psutil.Process.suspend)
        self.frontends += 1

    async def _frontend_stopped_while_a_worker_loads(self) -> None:
        """Who stands still must keep nobody else from meeting the new worker."""
        await self._end(await self._victim(f"altclip-worker {STUB} "), psutil.Process.kill)
        self.workers += 1
        await self._frontend_stopped()

    async def _burst(self) -> None:
        await self.burst()

    async def _victim(self, title: str) -> psutil.Process:
        """One that is not spared, once there is one: decoders start by and by."""
        end = time.monotonic() + RECOVERY_SECONDS
        while not (found := self._not_spared(title)):
            assert time.monotonic() < end, f"there is no {title}"
            await asyncio.sleep(0.05)
        return self._random.choice(found)

    def _not_spared(self, title: str) -> list[psutil.Process]:
        """A decoder that is just being started still bears its frontend's title."""
        decoder = title.startswith("altclip-decoder")
        found = []
        for process in self.server.processes(title):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.pid not in self.spared and (process.ppid() == self.server.pid) != decoder:
                    found.append(process)
        return found

    async def _end(self, victim: psutil.Process, how: Callable[[psutil.Process], None]) -> None:
        how(victim)
        await self._gone(victim)

    async def _gone(self, victim: psutil.Process) -> None:
        end = time.monotonic() + RECOVERY_SECONDS
        with contextlib.suppress(psutil.NoSuchProcess):  # gone between two looks
            while victim.is_running():  # until its parent knows, too
                if time.monotonic() > end:
                    raise AssertionError(f"nobody ended process {victim.pid}, which stands still")
                await asyncio.sleep(0.05)

    async def _recovered(self) -> bool:
        end = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < end:
            _, body = await asyncio.to_thread(self.server.get, "/readyz")
            said = json.loads(body)
            if all(said[kind]["ready"] == said[kind]["of"] for kind in ("workers", "frontends")):
                return True
            await asyncio.sleep(0.1)
        return False


async def _told(stop: asyncio.Event, seconds: float) -> bool:
    """Waits so long, or until told to stop; whether it was."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
