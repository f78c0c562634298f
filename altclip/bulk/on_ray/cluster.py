"""The driver of a job on Ray: connects, gives each part to an actor, puts what comes back in its place."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altclip.bulk.flow.lanes import Connection
from altclip.bulk.flow.pool import TooManyErrors
from altclip.bulk.flow.servers import Servers
from altclip.bulk.flow.work import Keep, Work
from altclip.bulk.on_ray.parts import Access, PartMaker, Row, describe, raise_failure, row_of
from altclip.bulk.on_ray.staging import Staging
from altclip.bulk.output.manifest import Part, part_of
from altclip.bulk.plan import Task
from altclip.datasets.items import DataError
from altclip.errors import Unavailable
from altclip.results import Limits, Model

AT_A_TIME = 2
"""Parts that an actor has at a time."""


@dataclass
class OnRay:
    """A Ray cluster as what makes the parts of a job; see `Maker`.

    Attributes:
        address: Of the cluster, as `ray.init` takes it: auto, HOST:PORT.
        access: Where the actors' vectors come from.
        actors: How many; 0 means one for each GPU, or else as many as find room, or one for each node where
            servers do the work.
        cpus, gpus: What an actor reserves; None means a GPU if the cluster has any, and the CPUs that are its
            share of its node; without GPUs those of the smallest node, or one CPU where servers do the work.

    >>> cluster = bulk.OnRay("auto", gpus=0.5)
    >>> bulk.run("missing.jsonl", "vectors", client=cluster)
    Traceback (most recent call last):
    altclip.datasets.items.DataError: ...missing.jsonl: no such file or folder
    """

    address: str
    access: Access = field(default_factory=Access)
    actors: int = 0
    cpus: float | None = None
    gpus: float | None = None
    done: int = 0
    failed_rows: int = 0
    _busy: dict[str, float] = field(default_factory=dict)
    _connected: bool = False
    elsewhere: bool = field(default=True, init=False)

    def sampling(self) -> Connection:
        """See `Maker`."""
        raise DataError("--dry-run has no cluster: leave --ray out")

    def model(self, name: str, patience: float, tell: Callable[[str], object]) -> Model:
        """See `Maker`. Own encoders are loaded once for it, by a task that reserves what an actor does."""
        if self.access.addresses:
            with contextlib.ExitStack() as stack:
                connections = self.access.connections()
                for each in connections:
                    stack.callback(each.close)
                return Servers(connections).model(name, patience, tell)
        ray = self._connect()
        pool = pool_of(self, ray.nodes())
        self.access = replace(self.access, model=_anywhere(name), threads=pool.threads)
        # The process ends with the task, and gives its device back.
        task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_calls=1)(describe)
        try:
            seconds = None if math.isinf(patience) else patience
            row: Row = ray.get(task.remote(self.access), timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            told = f"{pool.cpus:g} CPUs and {pool.gpus:g} GPUs on one node"
            raise Unavailable(f"the cluster had no room in time: an actor needs {told}") from None
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the cluster could not load the model: {_first_line(error)}") from None
        raise_failure(row)
        found: dict[str, Any] = json.loads(row["model"])
        lists: dict[str, Any] = {name: tuple(found.pop(name)) for name in ("languages", "aliases")}
        return Model(limits=Limits(**found.pop("limits")), **lists, **found)

    def make(
        self,
        work: Work,
        tasks: Sequence[Task],
        keep: Keep,
        look: Callable[[], object],
        tell: Callable[[str], object],
    ) -> None:
        """See `Maker`."""
        if not tasks:
            return
        ray = self._connect()
        staging = Staging(work.output)
        waiting = {task.number: task for task in tasks}
        # The rows that fail are counted here, over all parts.
        rows = self._rows(ray, replace(work, max_errors=None), tasks, staging)
        try:
            for row in rows:
                raise_failure(row)
                number = int(row["number"])
                if waiting.pop(number, None) is None:
                    continue  # a task that Ray did once more than needed
                part = part_of(json.loads(row["part"]))
                staging.take(row["folder"], part)
                keep(part)
                self._count(work, part, json.loads(row["times"]))
                look()
                if work.max_errors is not None and self.failed_rows >= max(work.max_errors, 1):
                    raise TooManyErrors(self.failed_rows)
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the Ray job failed: {_first_line(error)}") from None
        finally:
            rows.close()
            staging.remove()
        if waiting:
            raise Unavailable(f"the Ray job ended without {len(waiting)} of its parts")

    def close(self) -> None:
        """See `Maker`. A cluster that the caller is connected to stays so."""
        if self._connected:
            import ray

            self._connected = False
            ray.shutdown()

    def times(self, seconds: float) -> dict[str, float]:
        """See `Maker`: the time of all actors together."""
        return dict(self._busy)

    def _rows(self, ray: Any, work: Work, tasks: Sequence[Task], staging: Staging) -> Generator[Row]:
        """What the actors made of the tasks, as it comes."""
        pool = pool_of(self, ray.nodes())
        actors = min(pool.actors, len(tasks))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        found = ray.data.from_items([row_of(task) for task in tasks], override_num_blocks=len(tasks)).map(
            PartMaker,
            fn_constructor_args=[ray.put(work), self.access, staging.path],
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=actors,
                initial_size=actors,
                max_tasks_in_flight_per_actor=AT_A_TIME,
                max_concurrent_calls_per_actor=AT_A_TIME,
                enable_true_multi_threading=True,
            ),
        )
        # Without prefetching, or a part would be kept when the next one is there.
        for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch.to_pylist()

    def _connect(self) -> Any:
        """The module `ray`, connected. Raises DataError where it is not installed, Unavailable where no
        cluster answers."""
        ray = module()
        if not ray.is_initialized():
            try:
                with _signals_kept():
                    ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, RuntimeError, ValueError) as error:
                told = f"no Ray cluster answers at {self.address}: {_first_line(error)}"
                raise Unavailable(told) from None
            self._connected = True
        return ray

    def _count(self, work: Work, part: Part, times: dict[str, float]) -> None:
        self.done += (part.rows + part.errors) * len(work.columns)
        self.failed_rows += part.errors
        for name, seconds in times.items():
            self._busy[name] = self._busy.get(name, 0.0) + seconds


@dataclass(frozen=True)
class Pool:
    """actors: how many. cpus, gpus: that each reserves. threads: of its encoders."""

    actors: int
    cpus: float
    gpus: float
    threads: int


def pool_of(wanted: OnRay, nodes: Sequence[Mapping[str, Any]]) -> Pool:
    """The actors for a cluster of these nodes, as Ray describes them. Pure. Raises Unavailable where there is
    nothing to tell their size from."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    rooms = [each["CPU"] for each in alive if each.get("CPU", 0) >= 1]
    if not rooms and not (wanted.actors and wanted.cpus):
        told = "--ray-actors and --ray-cpus say what to ask it for"
        raise Unavailable(f"the Ray cluster has no node with a CPU now: {told}")
    devices = int(sum(each.get("GPU", 0) for each in alive))
    serving = bool(wanted.access.addresses)
    gpus = wanted.gpus
    if gpus is None:
        gpus = 1.0 if devices and not serving else 0.0
    cpus = wanted.cpus
    if cpus is None and gpus:
        shares = [each.get("CPU", 0) * gpus / each["GPU"] for each in alive if each.get("GPU", 0) >= gpus]
        cpus = max(1.0, min(shares, default=1.0) // 1)
    elif cpus is None:
        cpus = 1.0 if serving else min(rooms) // 1
    if gpus:
        actors = int(devices / gpus)
    else:
        actors = len(rooms) if serving or not cpus else sum(int(room // cpus) for room in rooms)
    return Pool(wanted.actors or max(1, actors), cpus, gpus, max(1, int(cpus)))


def module() -> Any:
    """The module `ray`. Raises DataError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DataError(f"--ray needs Ray: pip install 'altclip[ray]' ({error})") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts a handler of its own in the place of that of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _anywhere(model: str) -> str:
    """The same model for a process that has another working folder."""
    name, equals, source = model.rpartition("=")
    if source not in ("", "bundled") and Path(source).is_dir():
        source = str(Path(source).absolute())
    return f"{name}{equals}{source}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
