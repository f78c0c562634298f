"""The workers of a model as the core sees them: flights start, and land with a worker's outcome.

    core ──▶ Pools[name] ──▶ ModelPool.start ──▶ WorkerLink (one for each ready worker) ──▶ worker

Lives on the event loop of its frontend.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from service.frontend.api.errors import ModelNotFound, WorkerUnavailable
from service.frontend.compute.flights import Batch, Flight, Outcome
from service.frontend.compute.worker_link import WorkerLink
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority
from worker.spec import ModelInfo, ModelSpec

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Tracing

__all__ = ["ModelPool", "Pools"]

_CHUNK = 32
"""How many items of a call go to one worker before the next worker is chosen."""


class ModelPool:
    """One model: its description, and the workers that are ready for it."""

    def __init__(
        self,
        spec: ModelSpec,
        metrics: Metrics,
        changed: Callable[[], None] = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        """changed: called when `ready` may have changed. tracing: None traces no batch."""
        self.spec = spec
        self.info: ModelInfo | None = None
        """What the worker said that became ready last; None before the first."""
        self.devices: tuple[str, ...] = ()
        self.weights_sha256 = ""
        self.batch_ended: Callable[[Batch], None] = lambda batch: None
        """Called for each batch that has ended."""
        self._metrics = metrics
        self._changed = changed
        self._tracing = tracing
        self._workers: dict[int, tuple[WorkerLink, str]] = {}
        self._queued_flights = 0
        """How many flights wait for a slot; almost always none."""
        self._queued: dict[tuple[Modality, Priority], OrderedDict[Flight, None]] = {
            (modality, priority): OrderedDict() for modality in Modality for priority in Priority
        }

    @property
    def ready(self) -> bool:
        return bool(self._workers)

    @property
    def workers(self) -> int:
        """How many are ready."""
        return len(self._workers)

    @property
    def revision(self) -> str:
        """The first 16 hex digits of the weights' checksum; "" until it is known."""
        return self.weights_sha256[:16]

    def add_worker(self, worker_id: int, number: str, device: str, info: ModelInfo, descriptor: int) -> None:
        """A worker is ready. number: names it to the watchdog. descriptor: its socket, now ours."""
        link = WorkerLink(
            self.spec,
            descriptor,
            freed=self._wake,
            gone=lambda untouched: self._gone(worker_id, untouched),
            batch_ended=lambda batch: self.batch_ended(batch),
            batch_costs=info.batch_costs,
            outstanding_since=lambda since: self._publish(number, since),
            device=device,
            tracing=self._tracing,
        )
        self._workers[worker_id] = (link, device)
        self.info = info
        self._update()

    def remove_worker(self, worker_id: int) -> None:
        """A worker is dead. Items that it had begun fail with WorkerUnavailable."""
        link, _ = self._workers.pop(worker_id, (None, ""))
        if link is not None:
            link.close()
            self._update()

    def start(self, flights: Sequence[Flight]) -> None:
        """Sends these flights as workers have room: interactive before bulk work, otherwise in their order.

        A few slots are bulk work's first, so that it moves in any case. Each flight lands, at the latest when
        the last worker is gone, unless it is taken back. Items that a worker had not begun when it died go to
        another, as long as there is one.
        """
        for start in range(0, len(flights), _CHUNK):
            link: WorkerLink | None = None
            for flight in flights[start : start + _CHUNK]:
                modality, priority = flight.item.modality, flight.priority
                if not self._workers:
                    flight.land(Outcome(None, WorkerUnavailable()))
                    continue
                if link is None or not link.room(modality, priority):
                    link = self._link(modality, priority)
                if link is not None and not self._queued[modality, priority]:
                    link.submit(flight)
                else:
                    self._queued[modality, priority][flight] = None
                    self._queued_flights += 1

    def take_back(self, flight: Flight) -> None:
        """Nobody waits for this flight any more: it does not land, and is computed only if begun already."""
        flight.abandoned = True
        if flight.link is not None:
            flight.link.take_back(flight)
        elif flight in (queue := self._queued[flight.item.modality, flight.priority]):
            del queue[flight]
            self._queued_flights -= 1

    def _link(self, modality: Modality, priority: Priority) -> WorkerLink | None:
        """Of the workers with room, the one with the fewest unanswered items."""
        best: WorkerLink | None = None
        for link, _ in self._workers.values():
            if link.room(modality, priority) and (best is None or link.load < best.load):
                best = link
        return best

    def _wake(self, modality: Modality) -> None:
        """A slot of this modality may be free: sends the flights that wait for one."""
        if not self._queued_flights:
            return
        bulk = self._queued[modality, Priority.BULK]
        for owing, _ in self._workers.values():
            while bulk and owing.owes_bulk(modality):
                owing.submit(bulk.popitem(last=False)[0])
                self._queued_flights -= 1
        for priority in Priority:
            queue = self._queued[modality, priority]
            while queue:
                if (link := self._link(modality, priority)) is None:
                    return
                link.submit(queue.popitem(last=False)[0])
                self._queued_flights -= 1

    def _gone(self, worker_id: int, untouched: Sequence[Flight]) -> None:
        self.remove_worker(worker_id)
        for flight in untouched:
            flight.link = None
        self.start(untouched)

    def _publish(self, number: str, outstanding_since: float) -> None:
        self._metrics.outstanding_since.set(outstanding_since, number)
        for modality in Modality:
            used = sum(link.in_use(modality) for link, _ in self._workers.values() if link.alive)
            self._metrics.slots.set(used, self.spec.name, modality.label)

    def _update(self) -> None:
        self.devices = tuple(dict.fromkeys(device for _, device in self._workers.values()))
        if self._workers:
            for modality in Modality:
                self._wake(modality)
        else:
            stranded = [flight for queue in self._queued.values() for flight in queue]
            self._queued_flights = 0
            for queue in self._queued.values():
                queue.clear()
            for flight in stranded:
                if not flight.abandoned:  # the landing of another may have ended its call
                    flight.land(Outcome(None, WorkerUnavailable()))
        self._changed()


class Pools:
    """All models of a server by name; the first is the default."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        metrics: Metrics,
        changed: Callable[[], None] = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        """changed: called when the readiness of some model may have changed. It may be replaced later."""
        self.changed = changed
        self._pools = {spec.name: ModelPool(spec, metrics, lambda: self.changed(), tracing) for spec in specs}

    def get(self, name: str) -> ModelPool:
        """The model of that name, the first for "". Raises ModelNotFound."""
        if not name:
            return next(iter(self._pools.values()))
        try:
            return self._pools[name]
        except KeyError:
            raise ModelNotFound(
                f"model: there is no {name[:100]!r}; there is {', '.join(self._pools)}"
            ) from None

    def __iter__(self) -> Iterator[ModelPool]:
        return iter(self._pools.values())

    def remove_worker(self, worker_id: int) -> None:
        """A worker of some model is dead."""
        for pool in self._pools.values():
            pool.remove_worker(worker_id)

    @property
    def ready(self) -> bool:
        """Whether every model is."""
        return all(pool.ready for pool in self._pools.values())
