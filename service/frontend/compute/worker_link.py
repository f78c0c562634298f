"""The frontend's end of the link to one worker: slots, notices, and the flights that wait for answers.

The notices are those of `worker/runtime/notices.py`. Lives on its frontend's event loop and is used from
there alone.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from service.frontend.api.errors import DeadlineTooShort, Internal, WorkerUnavailable
from service.frontend.compute.batches import batches, trace_batches
from service.frontend.compute.flights import Batch, Flight, Outcome
from worker.runtime.notices import (
    CANCEL,
    Modality,
    Priority,
    Request,
    Result,
    Status,
    pack_requests,
    receive,
    unpack_results,
)
from worker.runtime.slab import Slab, SlabLayout, send_slab
from worker.spec import ModelSpec

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Tracing

__all__ = ["WorkerLink"]

_BULK_RESERVE = 4
"""Bulk work leaves one slot of so many to interactive work."""
_BULK_LEAST = 32
"""One slot of so many is bulk work's before it is interactive work's, so that its worker always has some."""
_PUBLISH_SECONDS = 0.25


class WorkerLink:
    """The link to one ready worker. It is dead once `gone` was called, after EOF on the socket or `close`."""

    def __init__(
        self,
        spec: ModelSpec,
        descriptor: int,
        *,
        freed: Callable[[Modality], None],
        gone: Callable[[Sequence[Flight]], None],
        batch_ended: Callable[[Batch], None],
        outstanding_since: Callable[[float], None],
        batch_costs: Sequence[int] = (),
        device: str = "",
        tracing: Tracing | None = None,
    ) -> None:
        """descriptor: the socket, owned by this object from now on.

        freed: called when a slot is free again. gone: called when the worker is dead, with the flights that
        it had not begun; the others have landed. outstanding_since: called at intervals with the time when
        the oldest unanswered item was submitted, in time.monotonic() seconds, 0 for none. batch_costs: those
        of the worker's `ModelInfo`; without them batch_ended is not called, and no batch is traced. device:
        the worker's, for spans.
        """
        self._loop = asyncio.get_running_loop()
        self._spec = spec
        self._freed, self._gone = freed, gone
        self._outstanding_since = outstanding_since
        self._batch_ended = batch_ended
        self._batch_costs = batch_costs
        self._device = device
        self._tracing = tracing
        layout = SlabLayout.for_model(spec)
        self._slab, memory = Slab.create(layout)
        self._free = {modality: list(range(layout.counts[modality])) for modality in Modality}
        self._reserve = {modality: layout.counts[modality] // _BULK_RESERVE for modality in Modality}
        self._owed = {modality: layout.counts[modality] // _BULK_LEAST for modality in Modality}
        """How many slots bulk work may take before interactive work does; those that it has are taken off."""
        self._waiting: dict[int, Flight] = {}
        self._bulk_waiting = 0
        self._ids = itertools.count(1)
        self._notices: list[Request] = []
        self._unsent: deque[bytes] = deque()
        self._blocked = False
        """Whether the socket is full, so that notices wait until the worker has read some."""
        self._socket = socket.socket(fileno=descriptor)
        try:
            send_slab(self._socket, layout, memory)
        except OSError:
            self._loop.call_soon(self.close)  # dead already; `gone` is called from the loop, as always
        finally:
            os.close(memory)
        self._socket.setblocking(False)
        self.alive = True
        self._loop.add_reader(self._socket, self._read)
        self._publish()

    def in_use(self, modality: Modality) -> int:
        """How many slots of this modality are not free."""
        return self._slab.layout.counts[modality] - len(self._free[modality])

    @property
    def load(self) -> int:
        """How many items the worker has not answered."""
        return len(self._waiting)

    def room(self, modality: Modality, priority: Priority) -> int:
        """How many items can be submitted now."""
        free = len(self._free[modality])
        if priority is Priority.INTERACTIVE:
            return free
        return max(0, free - self._reserve[modality], min(free, self._owed[modality]))

    def owes_bulk(self, modality: Modality) -> bool:
        """Whether the next item is to be a bulk one, if there is any."""
        return self._owed[modality] > 0 and bool(self._free[modality])

    def submit(self, flight: Flight) -> None:
        """Sends one item. There must be `room`."""
        item = flight.item
        modality = item.modality
        flight.link = self
        flight.slot = slot = self._free[modality].pop()
        payload = item.payload
        if modality is Modality.IMAGE:
            payload = payload.reshape(-1)
            self._slab.bytes[modality][slot, : len(payload)] = payload
        else:
            self._slab.ids[modality][slot, : len(payload)] = payload
        self._slab.begun[modality][slot] = 0
        flight.job_id = job_id = next(self._ids)
        flight.submitted = now = time.monotonic()
        self._waiting[job_id] = flight
        if flight.priority is Priority.BULK:
            self._bulk_waiting += 1
            self._owed[modality] -= 1
        until = math.inf if flight.deadline is None else flight.deadline
        self._notify(Request(job_id, now, until, slot, len(payload), modality, flight.priority, item.variant))

    def take_back(self, flight: Flight) -> None:
        """Tells the worker not to compute this item, if it has not begun. The slot comes back either way."""
        if flight.job_id in self._waiting:
            self._notify(Request(flight.job_id, 0.0, 0.0, 0, 0, CANCEL, 0, 0))

    def close(self) -> None:
        """Gives the worker up. Items that it had begun fail with WorkerUnavailable."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._outstanding_since(0.0)
        waiting = [flight for flight in self._waiting.values() if not flight.abandoned]
        self._waiting.clear()
        untouched = [flight for flight in waiting if not self._slab.begun[flight.item.modality][flight.slot]]
        # The memory is given back here: errors of failed calls may hold this object for long.
        self._slab.release()
        self._gone(untouched)
        for flight in waiting:
            if flight.link is self:
                flight.land(Outcome(None, WorkerUnavailable()))

    def _notify(self, request: Request) -> None:
        if not self._notices:
            self._loop.call_soon(self._flush)
        self._notices.append(request)

    def _flush(self) -> None:
        # One write for all items that were submitted in one iteration of the event loop.
        notices, self._notices = self._notices, []
        if not self.alive:
            return
        idle = not self._unsent
        self._unsent.extend(pack_requests(notices))
        if idle:
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._socket.send(self._unsent[0], socket.MSG_NOSIGNAL)
                self._unsent.popleft()
        except BlockingIOError:
            self._blocked = True
            self._loop.add_writer(self._socket, self._send)
            return
        except OSError:
            self.close()
            return
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            # Only one packet: mostly there is no other, and a fast worker must not hold up the event loop.
            packet = receive(self._socket)
        except OSError:
            self.close()
            return
        results = [*unpack_results(packet)] if packet is not None else []
        ended = [(self._waiting[result.id], result) for result in results]
        bulk_since = self._bulk_since() if self._bulk_waiting else math.inf
        for result in results:
            self._finish(result)
        if self._batch_costs:
            for batch in batches(ended, self._batch_costs, bulk_since):
                self._batch_ended(batch)
            if self._tracing is not None:
                trace_batches(self._tracing, ended, self._batch_costs, self._device)

    def _bulk_since(self) -> float:
        """When the oldest bulk item was submitted that the worker has not begun; infinity without one."""
        waiting = (
            flight.submitted
            for flight in self._waiting.values()  # oldest first
            if flight.priority is Priority.BULK and not self._slab.begun[flight.item.modality][flight.slot]
        )
        return next(waiting, math.inf)

    def _finish(self, result: Result) -> None:
        flight = self._waiting.pop(result.id)
        modality = flight.item.modality
        if flight.priority is Priority.BULK:
            self._bulk_waiting -= 1
            self._owed[modality] += 1
        outcome = None if flight.abandoned else self._outcome(flight, result)
        self._free[modality].append(flight.slot)
        if outcome is not None:
            flight.land(outcome)
        self._freed(modality)

    def _outcome(self, flight: Flight, result: Result) -> Outcome:
        times = (result.queue, result.inference, result.batch)
        if result.status == Status.OK:
            return Outcome(self._value(flight), None, *times)
        if result.status == Status.FAILED:
            return Outcome(None, Internal("The model failed on this input."), *times)
        return Outcome(None, DeadlineTooShort("The deadline passed before the work was begun."), *times)

    def _value(self, flight: Flight) -> npt.NDArray[np.float32]:
        modality = flight.item.modality
        slot: npt.NDArray[np.float32] = self._slab.floats[modality][flight.slot]
        if modality is Modality.PROMPT:
            tokens, width = self._spec.max_tokens, self._spec.state_dimension
            return slot[: tokens * width].reshape(tokens, width).copy()
        return slot[: self._spec.dimension].copy()

    def _publish(self) -> None:
        if self.alive:
            oldest = min((flight.submitted for flight in self._waiting.values()), default=0.0)
            self._outstanding_since(oldest)
            self._loop.call_later(_PUBLISH_SECONDS, self._publish)
