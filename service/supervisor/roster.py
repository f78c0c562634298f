"""All workers and frontends: their processes, what these reported, and the links between them.

A `Place` outlives its processes: when one ends, the next one takes its place. For each frontend and each
worker that is ready there is one link, a socket pair whose ends are sent to them through their control
channels. It has no name and leaves no file.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.config.operator_files import as_descriptor
from service.config.settings import Settings
from service.supervisor.children import Child, Nursery
from service.supervisor.pages import Pages
from worker.runtime import logs
from worker.runtime.control import Message
from worker.runtime.metrics import Layout
from worker.spec import ModelSpec

__all__ = ["FrontendPlace", "Place", "Roster", "WorkerPlace"]

_events = logs.get("supervisor")


@dataclass(slots=True, eq=False)
class Place:
    """ready_since: monotonic second, 0 while its process is not ready (a frontend: does not listen)."""

    title: str
    child: Child | None = None
    started: float = 0.0
    ready_since: float = 0.0
    failure: str = ""
    """Why it will never work, as it said itself."""
    failing: str = ""
    """Why it could not start this time, as it said itself."""
    killed_for: str = ""
    """Why the supervisor ended it."""
    killed_at: float = 0.0
    stuck_since: float = 0.0
    """Monotonic second since when it made no progress; 0 unless it was ended for that."""
    crash: str = ""
    """The stacks of its threads, if native code ended it."""

    @property
    def ready(self) -> bool:
        """Not from when it was killed, which may be long before it has ended: its device's driver may hold
        it in the kernel."""
        return self.ready_since > 0 and not self.killed_for

    def served(self, now: float) -> float:
        """Seconds for which it was ready and, if it then hung, made progress; 0.0 if never."""
        return max(0.0, (self.stuck_since or now) - self.ready_since) if self.ready_since > 0 else 0.0

    def kill(self, reason: str, now: float, stuck_since: float = 0.0) -> None:
        """Ends its process, which counts as ready no more."""
        self.killed_for, self.killed_at, self.stuck_since = reason, now, stuck_since
        if self.child is not None:
            self.child.kill()


@dataclass(slots=True, eq=False)
class WorkerPlace(Place):
    """number: for metrics, the same for every process here; id: of this process only. budgets, kernels: what
    its first process found that a batch should hold, and how to multiply, so that those after it need not
    measure."""

    number: int = 0
    spec: ModelSpec = field(kw_only=True)
    device: str = field(kw_only=True)
    threads: int = 0
    id: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    budgets: list[list[int]] | None = None
    kernels: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class FrontendPlace(Place):
    """index: its number, the same for every process here."""

    index: int = 0


class Roster:
    """changed: called whenever a process became ready."""

    def __init__(
        self,
        settings: Settings,
        specs: list[ModelSpec],
        workers: list[WorkerPlace],
        pages: Pages,
        nursery: Nursery,
        changed: Callable[[], None],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """settings: with the addresses in numbers. files: what frontends are given, as it is now."""
        self.workers = workers
        self.frontends = [
            FrontendPlace(title=f"altclip-frontend {index}", index=index)
            for index in range(settings.frontends)
        ]
        self._settings = settings
        self._specs = specs
        self._layout: Layout = pages.layout
        self._pages = pages
        self._nursery = nursery
        self._changed = changed
        self._ids = itertools.count(1)
        self._files = {} if files is None else files
        self._sha256: dict[str, str] = {}
        """Of each model's weights, as the first process told it that had read them."""

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return [*self.workers, *self.frontends]

    def start(self, place: Place) -> Child:
        """Starts a process in this place and sends it its configuration. Raises OSError."""
        place.started, place.ready_since = time.monotonic(), 0.0
        place.failure = place.failing = place.killed_for = place.crash = ""
        place.killed_at = place.stuck_since = 0.0
        page = self._pages.add(place.title)
        module = "worker" if isinstance(place, WorkerPlace) else "service.frontend"
        try:
            child = self._nursery.start(module, place.title, page, lambda message: self._hear(place, message))
        except OSError:
            self._pages.retire(page)
            raise
        place.child = child
        totals = [self._pages.totals.descriptor] if isinstance(place, FrontendPlace) else []
        child.send("config", self._config(place), [page.descriptor, *totals])
        page.close_descriptor()
        if isinstance(place, WorkerPlace):
            place.id, place.info = next(self._ids), {}
        elif isinstance(place, FrontendPlace):
            for name, content in self._files.items():
                give(child, name, content)
            child.send("begin")
            for worker in self.workers:
                if worker.ready:
                    self._link(place, worker)
            for model, sha256 in self._sha256.items():
                child.send("weights", {"model": model, "sha256": sha256})
        return child

    def ended(self, place: Place) -> None:
        """Its process was reaped: only now may memory that it could write to be used again."""
        was_ready, child = place.ready_since > 0, place.child
        place.child, place.ready_since = None, 0.0
        if child is not None:
            self._pages.retire(child.page)
        if isinstance(place, WorkerPlace):
            self._count_up(place)
            if was_ready:
                self._tell_frontends("worker_gone", {"id": place.id})

    def status(self) -> dict[str, Any]:
        """What is ready, as the body of /readyz."""
        models = {spec.name: any(worker.ready for worker in self._of(spec.name)) for spec in self._specs}
        listening = sum(frontend.ready for frontend in self.frontends)
        return {
            "ready": all(models.values()) and listening > 0,
            "models": models,
            "workers": {"ready": sum(worker.ready for worker in self.workers), "of": len(self.workers)},
            "frontends": {"ready": listening, "of": len(self.frontends)},
        }

    def complete(self) -> bool:
        """Every worker is ready and every frontend listens."""
        return all(place.ready for place in self.places)

    def _of(self, model: str) -> list[WorkerPlace]:
        return [worker for worker in self.workers if worker.spec.name == model]

    def _config(self, place: Place) -> dict[str, Any]:
        settings = self._settings
        if isinstance(place, WorkerPlace):
            batching = {
                "tokens": settings.batch_tokens,
                "images": settings.batch_images,
                "wait": settings.batch_wait,
                "budgets": place.budgets,
            }
            return {
                "model": place.spec.to_dict(),
                "device": place.device,
                "dtype": settings.dtype,
                "threads": place.threads,
                "kernels": settings.kernels,
                "known_kernels": place.kernels,
                "weights_known": place.spec.name in self._sha256,
                "batching": batching,
                "metrics": self._layout.to_dict(),
                "log_level": settings.log_level,
                "number": place.number,
            }
        return {
            "index": place.index if isinstance(place, FrontendPlace) else 0,
            "settings": settings.to_dict(),
            "models": [spec.to_dict() for spec in self._specs],
            "metrics": self._layout.to_dict(),
        }

    def _hear(self, place: Place, message: Message) -> None:
        if place.failure and message.type != "crash":
            return  # it ends, and must not become ready by what it had sent before
        match message.type, place:
            case "ready", WorkerPlace():
                place.info, place.ready_since = message.body["info"], time.monotonic()
                place.budgets, place.kernels = message.body["budgets"], place.info["kernels"]
                said = {**place.info, "device": place.device, "seconds": _since(place)}
                del said["kernels"]  # the worker has logged them
                _events.info("worker_ready", model=place.spec.name, **said)
                self._count_up(place)
                try:
                    for frontend in self.frontends:
                        self._link(frontend, place)
                except OSError as error:  # without a link it would be ready for nobody
                    place.kill(f"cannot be linked: {error.strerror}", time.monotonic())
                self._changed()
            case "weights", _:
                self._compare_weights(place, message.body["model"], message.body["sha256"])
            case "listening", FrontendPlace():
                place.ready_since = time.monotonic()
                _events.info("frontend_listening", index=place.index, **message.body, seconds=_since(place))
                self._changed()
            case "drained", FrontendPlace():
                _events.info("frontend_drained", index=place.index)
            case "crash", _:
                place.crash += message.body["text"]
            case "failing", _:
                place.failing = str(message.body["reason"])
            case "failed", _:
                place.failure = str(message.body["reason"])
                if place.child is not None:
                    place.child.end_soon()
            case _:
                _events.warning("unknown_message", title=place.title, type=message.type)

    def _compare_weights(self, place: Place, model: str, sha256: str) -> None:
        """A model has the same weights as long as the server lives: its answers bear one revision, and
        frontends keep its tokenizer and rows. So a process that found others must not serve."""
        if self._sha256.setdefault(model, sha256) == sha256:
            self._tell_frontends("weights", {"model": model, "sha256": sha256})
            return
        place.failure = (
            f"the weights of {model} are not those that the server began with, and vectors of both must not "
            "mix: start it anew with the new ones, or put the old ones back"
        )
        if place.child is not None:
            place.child.kill()

    def _link(self, frontend: FrontendPlace, worker: WorkerPlace) -> None:
        if frontend.child is None or worker.child is None:
            return
        for_frontend, for_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with for_frontend, for_worker:
            worker.child.send("link", {"frontend": frontend.index}, [for_worker.fileno()])
            frontend.child.send(
                "worker",
                {
                    "id": worker.id,
                    "number": worker.number,
                    "model": worker.spec.name,
                    "device": worker.device,
                    "info": worker.info,
                },
                [for_frontend.fileno()],
            )

    def give(self, name: str, content: bytes) -> None:
        """A file that frontends were given has changed."""
        for frontend in self.frontends:
            if frontend.child is not None:
                give(frontend.child, name, content)

    def _tell_frontends(self, message: str, body: dict[str, Any]) -> None:
        for frontend in self.frontends:
            if frontend.child is not None:
                frontend.child.send(message, body)

    def _count_up(self, place: WorkerPlace) -> None:
        alike = [worker for worker in self._of(place.spec.name) if worker.device == place.device]
        ready = sum(worker.ready for worker in alike)
        self._pages.own.worker_up.set(ready, place.spec.name, place.device)


def give(child: Child, name: str, content: bytes) -> None:
    """Sends a file's content: not in the message, which is limited in size and visible in traces."""
    with as_descriptor(content) as descriptor:
        child.send("file", {"name": name, "size": len(content)}, [descriptor])


def _since(place: Place) -> float:
    return round(time.monotonic() - place.started, 3)
