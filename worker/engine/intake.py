"""The worker's end of its links: takes notices in, sends results out. No torch.

    frontends ──▶ links ──▶ Intake.read ──▶ JobQueue ──▶ Engine ──▶ FrontendLink.send ──▶ frontends

The engine's thread reads the links itself, between batches: to hand every call from one thread to another
would cost more than to read it. While a batch is computed, or the model is loaded, a second thread polls the
links, so that cancelled jobs, the length of the queue and the supervisor's messages are known meanwhile.
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from worker.engine.jobs import Job
from worker.engine.queue import JobQueue
from worker.runtime import logs
from worker.runtime.control import Channel, Message, leave
from worker.runtime.notices import (
    CANCEL,
    Modality,
    Priority,
    Result,
    Status,
    pack_results,
    receive,
    unpack_requests,
)
from worker.runtime.slab import Slab, receive_slab

__all__ = ["FrontendLink", "Intake"]

_log = logs.get("intake")
_LOOK_IN_SECONDS = 0.02
_MODALITIES, _PRIORITIES = tuple(Modality), tuple(Priority)  # to call an enum takes a microsecond


class FrontendLink:
    """One frontend as the worker sees it. `send` may be called from any thread."""

    def __init__(self, index: int, end: socket.socket, slab: Slab, stopped: Callable[[], None]) -> None:
        """stopped: called when the frontend takes nothing more for now; then `flush` is due when it does."""
        self.index = index
        self.socket = end
        self.slab = slab
        self._stopped = stopped
        self._unsent: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def send(self, results: Sequence[Result]) -> None:
        """Sends at once what the socket takes. `flush` sends the rest, which is bounded by the slots."""
        with self._lock:
            if self._closed:
                return
            idle = not self._unsent
            self._unsent.extend(pack_results(results))
            if idle and not self._flush():
                self._stopped()

    def flush(self) -> bool:
        """Sends what is left. Returns whether all of it was sent."""
        with self._lock:
            return self._closed or self._flush()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._unsent.clear()
            self.socket.close()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def _flush(self) -> bool:
        while self._unsent:
            try:
                self.socket.send(self._unsent[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError:  # the frontend is gone; the intake reads that and closes the link
                self._unsent.clear()
                return True
            self._unsent.popleft()
        return True


class Intake:
    """Reads the control channel and all links, in one thread at a time. The engine calls `read`."""

    def __init__(self, channel: Channel, queue: JobQueue) -> None:
        self._links: dict[int, FrontendLink] = {}
        self._channel = channel
        self._queue = queue
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._news = False
        """The engine has not looked into the queue since the other thread took something in."""
        self._some_stopped = False
        self._opened = 0

    def start(self) -> None:
        """Starts the thread that polls the links while the engine does not read."""
        threading.Thread(target=self._keep_looking_in, name="intake", daemon=True).start()

    def read(self, wait: float = 0.0) -> None:
        """Reads all that has come. If nothing has, waits up to `wait` seconds for the first message."""
        with self._lock:
            if wait <= 0 or self._news or self._turn(None if math.isinf(wait) else wait):
                self._catch_up()
            self._news = False

    def look_in(self) -> None:
        """Reads all that has come, unless the other thread is reading."""
        if self._lock.acquire(blocking=False):
            try:
                self._news |= self._catch_up()
            finally:
                self._lock.release()

    def _keep_looking_in(self) -> None:
        try:
            while True:
                time.sleep(_LOOK_IN_SECONDS)
                self.look_in()
        except Exception as error:
            # Without this thread the worker would seem alive and read nothing: it ends, and is replaced.
            _log.error("intake_failed", "notices can no longer be read", error=error)
            leave()

    def _catch_up(self) -> bool:
        """Reads until nothing is left. Returns whether there was anything."""
        anything = False
        while self._turn(0):
            anything = True
        return anything

    def _turn(self, seconds: float | None) -> bool:
        """Waits once and handles what has come. Returns whether there was anything.

        While a thread waits here, no frame holds a closed link, whose memory could not be freed.
        """
        if self._some_stopped:
            self._some_stopped = False
            self._watch_writes()
        ready = self._selector.select(seconds)
        for key, events in ready:
            if key.fileobj is self._channel:
                self._on_control(self._channel.receive())
            elif isinstance(key.data, FrontendLink):
                self._on_link(key.data, events)
            else:
                self._greet(key.data)
        return bool(ready)

    def _on_control(self, message: Message | None) -> None:
        if message is None:
            leave()
        if message.type == "link":
            self._open(message.descriptors[0])
        elif message.type == "drain":
            self._queue.close()

    def _open(self, descriptor: int) -> None:
        """Registers a new link. Its frontend may send its memory late; other frontends do not wait for it."""
        end = socket.socket(fileno=descriptor)
        end.setblocking(False)
        self._selector.register(end, selectors.EVENT_READ, end)

    def _greet(self, end: socket.socket) -> None:
        self._selector.unregister(end)
        try:
            slab = receive_slab(end)
        except OSError:  # that frontend has died in the meantime
            end.close()
            return
        # Never an index twice: a job of a dead frontend must not be answered to its successor.
        self._opened += 1
        link = FrontendLink(self._opened, end, slab, self._stopped)
        self._links[link.index] = link
        self._selector.register(end, selectors.EVENT_READ, link)

    def _stopped(self) -> None:
        """Called by any thread when a frontend takes no more results; the next `_turn` watches for writes."""
        self._some_stopped = True

    def _watch_writes(self) -> None:
        for link in self._links.values():
            if link.has_unsent:
                self._selector.modify(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def _on_link(self, link: FrontendLink, events: int) -> None:
        if events & selectors.EVENT_WRITE and link.flush():
            self._selector.modify(link.socket, selectors.EVENT_READ, link)
        if events & selectors.EVENT_READ:
            try:
                # One packet: mostly there is no other, and if there is the selector tells at once.
                if (packet := receive(link.socket)) is not None:
                    self._take(link, packet)
            except OSError:
                self._close(link)

    def _take(self, link: FrontendLink, packet: bytes) -> None:
        jobs: list[Job] = []
        cancelled: list[int] = []
        for request in unpack_requests(packet):
            if request.modality == CANCEL:
                cancelled.append(request.id)
                continue
            modality = _MODALITIES[request.modality]
            jobs.append(
                Job(
                    id=request.id,
                    origin=link,
                    slot=request.slot,
                    modality=modality,
                    priority=_PRIORITIES[request.priority],
                    variant=request.variant,
                    length=request.length,
                    cost=1 if modality is Modality.IMAGE else request.length,
                    submitted=request.submitted,
                    deadline=request.deadline,
                )
            )
        if jobs:
            self._queue.put(jobs)
        # After the jobs: a job may be submitted and taken back in one packet.
        dropped = [job_id for job_id in cancelled if self._queue.cancel(link.index, job_id)]
        if dropped:
            link.send([Result(job_id, 0.0, 0.0, 0, Status.CANCELLED) for job_id in dropped])

    def _close(self, link: FrontendLink) -> None:
        self._selector.unregister(link.socket)
        del self._links[link.index]
        self._queue.drop_origin(link.index)
        link.close()
