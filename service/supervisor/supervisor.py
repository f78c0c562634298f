"""The parent of all processes: starts them, replaces what ends, stops the server. No torch, no grpc.

    start ──▶ every worker ready and every frontend listening: `ready` is logged
      a process ends     restarted (`restarts.py`); a crash loop, or a lasting reason, ends the server
      a worker hangs     killed (`watchdog.py`), and so restarted
      SIGTERM, SIGINT    drain: frontends finish what was admitted, then workers; a second one: at once
      SIGQUIT            ends at once
      SIGHUP             keys and certificates are read again

If the supervisor itself dies, every child reads EOF on its control channel and leaves.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from service.config.settings import Settings
from service.supervisor.children import Child, Nursery
from service.supervisor.file_watch import OperatorFiles
from service.supervisor.operations import Operations
from service.supervisor.pages import Pages
from service.supervisor.restarts import RestartPolicy
from service.supervisor.roster import Place, Roster, WorkerPlace
from service.supervisor.watchdog import Clock, is_stuck
from worker.runtime import logs
from worker.runtime.control import describe_status
from worker.spec import ModelSpec

__all__ = ["Supervisor"]

_events = logs.get("supervisor")

# Seconds of the grace period that are kept for the workers to end, and for the supervisor itself.
_RESERVE = 2.0
# A frontend loads tokenizers, and nothing larger.
_FRONTEND_START_SECONDS = 60.0
# After so long without a heartbeat a frontend's event loop is blocked.
_HEARTBEAT_SECONDS = 1.0
# Seconds that calls to the models that still work get when the server gives up.
_FAILURE_GRACE = 5.0
# Seconds after which a process that was killed must be gone. One that waits in the kernel for its device is
# not: only a new container or machine helps then, and the platform must hear of it.
_REAP_SECONDS = 30.0
# The same for those that are killed at the end.
_LAST_SECONDS = 5.0


class Supervisor:
    """Runs one server to its end."""

    def __init__(
        self,
        settings: Settings,
        specs: Sequence[ModelSpec],
        workers: list[WorkerPlace],
        pages: Pages,
        reserved: Sequence[socket.socket],
        files: OperatorFiles,
    ) -> None:
        """settings: with the addresses in numbers. reserved: hold their ports while no frontend lives."""
        self._reserved = reserved
        self._files = files
        self._settings = settings
        self._specs = list(specs)
        self._workers = workers
        self._pages = pages
        self._policy = RestartPolicy(
            settings.restart_backoff, settings.restart_stable, settings.restart_limit
        )
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._status = 0
        self._announced = False

    async def run(self) -> int:
        """Until told to stop or giving up; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._on_stop, number)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                loop.add_signal_handler(number, self._on_other, number)
        nursery = Nursery()
        self._roster = Roster(
            self._settings,
            self._specs,
            self._workers,
            self._pages,
            nursery,
            self._announce,
            self._files.content,
        )
        self._operations = Operations(self._pages, self._readiness)
        self._operations_address = await self._operations.start(self._settings.ops_address)
        tasks = [asyncio.create_task(self._keep(place)) for place in self._roster.places]
        tasks.append(asyncio.create_task(self._watch()))
        tasks.append(asyncio.create_task(self._files.watch(self._pages.own, self._roster.give)))
        for task in tasks:
            task.add_done_callback(self._on_task_end)
        try:
            await self._stopping.wait()
            await self._drain(_FAILURE_GRACE if self._status else self._settings.grace)
        finally:
            await self._kill_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._operations.stop()
        # What ended after the last scrape is told nowhere else.
        account = self._pages.account()
        _events.info("stopped", status=self._status, calls=account["calls"], items=account["items"])
        return self._status

    async def _keep(self, place: Place) -> None:
        """Replaces the process of a place whenever it ends, until the server stops."""
        failures = 0
        while not self._stopping.is_set():
            status = await self._fill(place)
            served = place.served(time.monotonic())
            self._roster.ended(place)
            if self._stopping.is_set():
                return
            failures = self._policy.failures_after(failures, served)
            reason = place.failure or place.killed_for or place.failing or status
            ended: dict[str, Any] = {"traceback": place.crash} if place.crash else {}
            ended |= {"title": place.title, "reason": reason, "served": round(served, 3)}
            _events.warning("child_ended", failures=failures, **ended)
            if place.failure:
                self._give_up(f"{place.title} cannot work: {place.failure}")
            elif self._policy.gives_up(failures):
                self._give_up(f"{place.title} failed {failures} times in a row, last: {reason}")
            else:
                if isinstance(place, WorkerPlace):
                    self._pages.own.worker_restarts.inc(place.spec.name, place.device)
                else:
                    self._pages.own.frontend_restarts.inc()
                await _within(self._stopping.wait(), self._policy.wait(failures, _chance()))

    async def _fill(self, place: Place) -> str:
        """Runs one process in a place. Returns how it ended."""
        try:
            child = self._roster.start(place)
        except OSError as error:  # there is no process, descriptor or memory to be had, for the moment
            if place.child is not None:  # it runs, but could not be told what it needs
                place.child.kill()
                await place.child.wait()
            missing = f": {error.filename}" if error.filename else ""
            return f"cannot be started: {error.strerror}{missing}"
        return describe_status(await child.wait())

    async def _watch(self) -> None:
        """Look at every process's progress, and add up their metrics for the frontends, until cancelled."""
        interval = min(1.0, self._settings.hang_timeout / 4, self._settings.load_timeout / 4)
        clock = Clock(interval, looked=time.monotonic())
        while True:
            await asyncio.sleep(interval)
            now = time.monotonic()
            self._pages.publish()
            awake_since = clock.look(now)
            for place in self._roster.places:
                if place.child is None:
                    continue
                if not place.killed_for:
                    self._watch_one(place, place.child, now, awake_since)
                elif now - max(place.killed_at, awake_since) > _REAP_SECONDS:
                    self._give_up(f"{place.title} was killed and does not end: {place.killed_for}")

    def _watch_one(self, place: Place, child: Child, now: float, awake_since: float) -> None:
        metrics = child.page.metrics
        reason, stuck_since = "", 0.0
        if place.ready:
            if isinstance(place, WorkerPlace):
                owes_since = self._pages.outstanding_since(place.number, now - _HEARTBEAT_SECONDS)
                progress = metrics.last_progress.value(str(place.number))
            else:  # a frontend owes a heartbeat at any time
                owes_since, progress = place.ready_since, metrics.heartbeat.value()
            # A new process owes nothing that was asked of the one before it.
            latest = max(progress, place.ready_since, awake_since)
            if is_stuck(owes_since, latest, now, self._settings.hang_timeout):
                reason, stuck_since = f"no progress for {now - latest:.1f} s", max(owes_since, latest)
        elif now - max(place.started, awake_since) > self._start_timeout(place):
            reason = f"not ready after {now - place.started:.1f} s"
        if reason:
            _events.error("child_stuck", reason, title=place.title, pid=child.pid)
            place.kill(reason, now, stuck_since)

    def _start_timeout(self, place: Place) -> float:
        longest = self._settings.load_timeout
        return longest if isinstance(place, WorkerPlace) else min(longest, _FRONTEND_START_SECONDS)

    def _announce(self) -> None:
        if not self._announced and not self._stopping.is_set() and self._roster.complete():
            self._announced = True
            addresses = {
                "grpc": self._settings.grpc_address,
                "http": self._settings.http_address,
                "ops": self._operations_address,
            }
            logs.get("ready").info("ready", "serving", **addresses)

    def _readiness(self) -> dict[str, object]:
        status = self._roster.status()
        draining = self._stopping.is_set()
        return {**status, "ready": status["ready"] and not draining, "draining": draining}

    def _on_other(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            _events.info("signal", "reading keys and certificates again", signal=number.name)
            self._files.reread()
        else:
            _events.info("signal", "it has no meaning here", signal=number.name)

    def _on_stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set() or number == signal.SIGQUIT:
            self._at_once.set()
        _events.info(
            "signal", "stopping" if not self._at_once.is_set() else "stopping at once", signal=number.name
        )
        self._stopping.set()

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _events.error("supervisor_failed", "a bug in the supervisor", error=error)
            self._status = 1
            self._stopping.set()

    def _give_up(self, reason: str) -> None:
        if not self._stopping.is_set():
            _events.error("gave_up", reason)
            self._status = 1
            self._stopping.set()

    async def _drain(self, grace: float) -> None:
        """Frontends end first, so that the workers can still answer what was admitted."""
        reserve = min(_RESERVE, grace / 4)
        ends = time.monotonic() + grace
        for place in self._roster.places:
            if place.child is not None and not place.ready:  # it owes nobody an answer
                place.child.kill()
        frontends = _children(self._roster.frontends)
        serving = _children(place for place in self._roster.frontends if place.ready_since > 0)
        for child in frontends:
            child.send("drain", {"grace": grace - reserve})
        # A frontend that keeps to its time ends before this does.
        await self._ended(frontends, ends - reserve / 2 - time.monotonic())
        if unfinished := [child.title for child in serving if child.alive or await child.wait() != 0]:
            _events.error("drain_incomplete", "some calls were cut off", frontends=unfinished)
            self._status = 1
        workers = _children(self._workers)
        for child in workers:
            child.send("drain")
        await self._ended(workers, max(0.0, ends - time.monotonic()))

    async def _ended(self, children: list[Child], seconds: float) -> None:
        """Wait until all have ended, the time is over, or a second signal came."""
        everyone = asyncio.gather(*(child.wait() for child in children))
        signalled = asyncio.create_task(self._at_once.wait())
        await asyncio.wait((everyone, signalled), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if not everyone.done():
            everyone.cancel()
            if not self._at_once.is_set():
                late = [child.title for child in children if child.alive]
                _events.warning("drain_overdue", "some processes have not ended in time", late=late)
        elif everyone.cancelled():
            raise asyncio.CancelledError
        with suppress(asyncio.CancelledError):
            await everyone

    async def _kill_all(self) -> None:
        if self._at_once.is_set():
            self._status = self._status or 1
        children = _children(self._roster.places)
        for child in children:
            child.kill()
        await _within(asyncio.gather(*(child.wait() for child in children)), _LAST_SECONDS)
        if left := [child.title for child in children if child.alive]:
            _events.error("not_ended", "some processes were killed and do not end", titles=left)


_chance = random.SystemRandom().random


def _children(places: Iterable[Place]) -> list[Child]:
    return [place.child for place in places if place.child is not None]


async def _within(awaitable: Awaitable[object], seconds: float) -> None:
    """Returns when it is done or the time is over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(awaitable, seconds)
