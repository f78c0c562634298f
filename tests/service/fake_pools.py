"""Pools that compute in this process with the stub family, and do what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from service.frontend.api.errors import ModelNotFound, ServiceError, WorkerUnavailable
from service.frontend.compute.flights import Batch, Flight, Outcome, WorkItem
from worker.families import Encoder, family
from worker.runtime.notices import Modality, Priority
from worker.spec import ModelInfo, ModelSpec

DIMENSION = 16


SHA256 = "0123456789abcdef" * 4


def stub_spec(name: str = "m", options: str = "") -> ModelSpec:
    """A stub model: 16 components, 12 components of a state, 20 tokens, 32 pixels."""
    sizes = f"dimension={DIMENSION},state_dimension=12,max_tokens=20,image_size=32"
    source = f"stub:{sizes},{options}" if options else f"stub:{sizes}"
    return family("stub").describe(name, source, Path(), "")


class FakePool:
    """A ModelPool that computes here. Set `ready`, `hold`, `fail` to make it behave."""

    def __init__(self, spec: ModelSpec, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.weights_sha256 = SHA256
        self.workers = 1
        self.batch_ended: Callable[[Batch], None] = lambda batch: None
        self.computed: list[WorkItem] = []
        self.cancelled: list[WorkItem] = []
        self.deadlines: list[float | None] = []
        self.priorities: list[Priority] = []
        self.hold: asyncio.Event | None = None
        """Nothing is computed before it is set."""
        self.fail: Callable[[WorkItem], ServiceError | None] = lambda item: None
        self.crash: BaseException | None = None
        """Raised by `start`."""
        self.encoder: Encoder = family("stub").load(spec, "cpu", "auto", 1)
        self.info: ModelInfo | None = self.encoder.info
        self._changed = changed
        self._ready = True
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        return self._ready

    @ready.setter
    def ready(self, value: bool) -> None:
        self._ready = value
        self._changed()

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu",) if self._ready else ()

    @property
    def revision(self) -> str:
        return self.weights_sha256[:16]

    def start(self, flights: Sequence[Flight]) -> None:
        """As the real one, all of them one batch."""
        if not self._ready:
            for flight in flights:
                flight.land(Outcome(None, WorkerUnavailable()))
            return
        if self.crash is not None:
            raise self.crash
        self.deadlines.append(flights[0].deadline)
        self.priorities.append(flights[0].priority)
        task = asyncio.create_task(self._compute(flights))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take_back(self, flight: Flight) -> None:
        """As the real one."""
        flight.abandoned = True
        self.cancelled.append(flight.item)

    async def _compute(self, flights: Sequence[Flight]) -> None:
        if self.hold is not None:
            await self.hold.wait()
        wanted = [flight for flight in flights if not flight.abandoned]
        self.computed += [flight.item for flight in wanted]
        for flight in wanted:
            flight.land(self._outcome(flight.item, len(wanted)))

    def _outcome(self, item: WorkItem, size: int) -> Outcome:
        if (error := self.fail(item)) is not None:
            return Outcome(None, error)
        payload: Any = [item.payload]
        match item.modality:
            case Modality.TEXT:
                value = self.encoder.text(payload)()
            case Modality.IMAGE:
                value = self.encoder.image(payload)()
            case Modality.PROMPT:
                value = self.encoder.prompt(payload, [item.variant])()
        return Outcome(value[0], None, 0.25, 1.5, size)


class FakePools:
    """As `Pools`."""

    def __init__(self, specs: Sequence[ModelSpec]) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.pools = {spec.name: FakePool(spec, lambda: self.changed()) for spec in specs}

    def get(self, name: str) -> FakePool:
        if not name:
            return next(iter(self.pools.values()))
        if name not in self.pools:
            raise ModelNotFound
        return self.pools[name]

    def __iter__(self) -> Any:
        return iter(self.pools.values())

    @property
    def ready(self) -> bool:
        return all(pool.ready for pool in self.pools.values())
