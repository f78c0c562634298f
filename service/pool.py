"""The workers of a model as the core sees them: items in, outcomes out, whichever worker computes them.

    core ──▶ Pools[name] ──▶ ModelPool.compute ──▶ WorkerLink (one for each ready worker) ──▶ worker

Lives on the event loop of its frontend.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from service.errors import DeadlineTooShort, ModelNotFound, WorkerUnavailable
from service.link import WorkerLink
from service.work import Attempt, Batch, Call, Outcome, WorkItem
from worker.jobs import Modality, Priority
from worker.metrics import Metrics
from worker.spec import ModelInfo, ModelSpec

__all__ = ["Attempt", "ModelPool", "Outcome", "Pools", "WorkItem"]

_CHUNK = 32
"""Where there are several workers, this many items of a call go to one before the next is chosen."""


class ModelPool:
    """One model: its description, and the workers that are ready for it."""

    def __init__(self, spec: ModelSpec, metrics: Metrics, changed: Callable[[], None] = lambda: None) -> None:
        """changed: called when `ready` may have changed."""
        self.spec = spec
        self.info: ModelInfo | None = None
        """Of the worker that became ready last; None before the first."""
        self.devices: tuple[str, ...] = ()
        self.weights_sha256 = ""
        self.batch_ended: Callable[[Batch], None] = lambda batch: None
        """Called with what is learnt of each batch."""
        self._metrics = metrics
        self._changed = changed
        self._workers: dict[int, tuple[WorkerLink, str]] = {}
        self._turns = 0
        """How many callers wait for a slot; almost always none."""
        self._queued: dict[tuple[Modality, Priority], deque[asyncio.Future[None]]] = {
            (modality, priority): deque() for modality in Modality for priority in Priority
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

    def add_worker(self, worker_id: int, slot: str, device: str, info: ModelInfo, descriptor: int) -> None:
        """A worker is ready. slot: its label in the watchdog's metrics. descriptor: its socket, now ours."""
        link = WorkerLink(
            self.spec,
            descriptor,
            settled=self._count,
            freed=self._wake,
            gone=lambda _: self.remove_worker(worker_id),
            batch_ended=lambda batch: self.batch_ended(batch),
            batch_costs=info.batch_costs,
            outstanding_since=lambda since: self._publish(slot, since),
        )
        self._workers[worker_id] = (link, device)
        self.info = info
        self._update()

    def remove_worker(self, worker_id: int) -> None:
        """A worker is dead. What it had not answered fails with WorkerUnavailable."""
        link, _ = self._workers.pop(worker_id, (None, ""))
        if link is not None:
            link.close()
            self._update()

    async def compute(
        self,
        items: Sequence[WorkItem],
        *,
        priority: Priority,
        deadline: float | None,
        attempt: Attempt = Attempt.ONLY,
    ) -> list[Outcome]:
        """The outcome of each item, in their order; any number of items.

        deadline in time.monotonic() seconds. What a worker had not begun when it died is given to another, as
        long as there is one. attempt: after the FIRST, what it took with it is not counted as failed, because
        the caller makes a SECOND (or calls `count_lost`). When the awaiting task is cancelled, what has not
        reached the device is taken back.
        """
        call = Call(items, priority, deadline, attempt)
        if attempt is not Attempt.SECOND:
            for item in items:
                self._metrics.accepted.inc(self.spec.name, item.modality.label)
        todo: Sequence[int] = range(len(items))
        try:
            while True:
                await self._send(call, todo)
                if call.remaining:
                    await call.done
                todo = call.untouched()
                if not todo or not self._workers:
                    break
                call.renew(todo)
        except BaseException:
            self._abandon(call)
            raise
        if attempt is not Attempt.FIRST:
            self.count_lost([items[index] for index in todo])
        return [outcome for outcome in call.outcomes if outcome is not None]

    def count_lost(self, items: Sequence[WorkItem], outcome: str = "failed") -> None:
        """Counts items whose worker died, and which were not computed once more after all."""
        for item in items:
            self._metrics.items.inc(self.spec.name, item.modality.label, outcome)

    async def _send(self, call: Call, todo: Sequence[int]) -> None:
        """Sends these items of the call as slots become free; settles those that no worker is left for."""
        sent = 0
        while sent < len(todo):
            modality = call.items[todo[sent]].modality
            if self._queued[modality, call.priority]:
                await self._turn(modality, call.priority)
            if not self._workers:
                break
            submitted = self._submit(call, todo[sent:])
            sent += submitted
            if not submitted:
                await self._turn(modality, call.priority)
            else:
                self._wake(modality)
        for index in todo[sent:]:
            nobody = Outcome(None, WorkerUnavailable())
            self._count(call, call.items[index].modality, nobody)
            call.settle(index, nobody)

    def _submit(self, call: Call, todo: Sequence[int]) -> int:
        """Sends as many of these items as one worker has room for now; how many."""
        modality = call.items[todo[0]].modality
        links = [link for link, _ in self._workers.values() if link.room(modality, call.priority)]
        if not links:
            return 0
        link = min(links, key=lambda link: link.load)
        chosen = todo if len(self._workers) == 1 else todo[:_CHUNK]
        for sent, index in enumerate(chosen):
            if not link.room(call.items[index].modality, call.priority):
                return sent
            link.submit(call, index)
        return len(chosen)

    async def _turn(self, modality: Modality, priority: Priority) -> None:
        """Waits until some worker may have room, first come first served, interactive before bulk."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queued[modality, priority]
        queue.append(turn)
        self._turns += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                queue.remove(turn)
            else:
                self._wake(modality)  # its turn had come: the next one takes it
            raise
        finally:
            self._turns -= 1

    def _wake(self, modality: Modality) -> None:
        if not self._turns:
            return
        for priority in Priority:
            queue = self._queued[modality, priority]
            if queue and any(link.room(modality, priority) for link, _ in self._workers.values()):
                queue.popleft().set_result(None)
                return

    def _abandon(self, call: Call) -> None:
        call.abandoned = True
        # What a dead worker took with it waited for the others, to be computed once more.
        unsettled = [
            item
            for item, outcome in zip(call.items, call.outcomes, strict=True)
            if outcome is None or call.comes_again(outcome)
        ]
        self.count_lost(unsettled, "cancelled")
        for link, _ in self._workers.values():
            link.take_back([call])

    def _count(self, call: Call, modality: Modality, outcome: Outcome) -> None:
        if outcome.error is None:
            label = "ok"
        elif call.comes_again(outcome):
            return
        else:
            label = "cancelled" if isinstance(outcome.error, DeadlineTooShort) else "failed"
        self._metrics.items.inc(self.spec.name, modality.label, label)

    def _publish(self, slot: str, outstanding_since: float) -> None:
        self._metrics.outstanding_since.set(outstanding_since, slot)
        for modality in Modality:
            used = sum(link.in_use(modality) for link, _ in self._workers.values() if link.alive)
            self._metrics.slots.set(used, self.spec.name, modality.label)

    def _update(self) -> None:
        self.devices = tuple(dict.fromkeys(device for _, device in self._workers.values()))
        if not self._workers:
            # Nobody will free a slot: let all who wait find out that there is no worker.
            for queue in self._queued.values():
                while queue:
                    turn = queue.popleft()
                    if not turn.done():
                        turn.set_result(None)
        else:
            for modality in Modality:
                self._wake(modality)
        self._changed()


class Pools:
    """All models of a server by name; the first is the default."""

    def __init__(
        self, specs: Sequence[ModelSpec], metrics: Metrics, changed: Callable[[], None] = lambda: None
    ) -> None:
        """changed: called when the readiness of some model may have changed; may be replaced later."""
        self.changed = changed
        self._pools = {spec.name: ModelPool(spec, metrics, lambda: self.changed()) for spec in specs}

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
        """A worker of whichever model is dead."""
        for pool in self._pools.values():
            pool.remove_worker(worker_id)

    @property
    def ready(self) -> bool:
        """Whether every model is."""
        return all(pool.ready for pool in self._pools.values())
