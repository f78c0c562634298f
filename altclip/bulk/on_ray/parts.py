"""What runs in an actor: makes a part of the output at a time, in a folder of the staging folder.

An actor holds its encoders, or its connections to servers, for as long as it lives. It is given two parts at
a time, so that it reads and writes one while the device has work of the other.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from altclip import errors
from altclip.bulk.flow.lanes import Connection
from altclip.bulk.flow.pipeline import Pipeline
from altclip.bulk.flow.servers import stream_of
from altclip.bulk.flow.work import Work
from altclip.bulk.on_ray.encoders import Encoders
from altclip.bulk.on_ray.staging import begin_try, end_try
from altclip.bulk.output.manifest import Part, part_of
from altclip.bulk.plan import Task
from altclip.bulk.sources.locations import Location
from altclip.channel import DEFAULT_TIMEOUT, channel_credentials
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.errors import AltClipError, RevisionChanged, Unavailable
from altclip.output import OutputError

_log = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class Access:
    """Servers that an actor connects to, and with what; the process of the actor makes the clients.

    Attributes:
        addresses: Each HOST:PORT. Empty: the actor has encoders of its own.
        model: With encoders of its own, which one, as `altclip-server --model` takes it.
        threads: Of these encoders on a CPU; 0 means one for each core.
        api_key, timeout, tls: As `Client` takes them.
        root_certificates, own_certificate: PEM, as `channel_credentials` takes them.

    >>> access = bulk.Access(("localhost:50051",), timeout=30.0)
    >>> [connection.get_model("").name for connection in access.connections()]
    ['bundled']
    """

    addresses: tuple[str, ...] = ()
    model: str = ""
    threads: int = 0
    api_key: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    tls: bool = False
    root_certificates: bytes | None = field(default=None, repr=False)
    own_certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def connections(self) -> Sequence[Connection]:
        """New ones. Raises DataError where encoders cannot be loaded."""
        if not self.addresses:
            return [Encoders(self.model, self.threads)]
        tls = self.tls or self.root_certificates is not None or self.own_certificate is not None
        credentials = channel_credentials(tls, self.root_certificates, self.own_certificate)
        return [
            Client(address, api_key=self.api_key, timeout=self.timeout, credentials=credentials)
            for address in self.addresses
        ]


class PartMaker:
    """Called by Ray Data with a row for each part, in several threads.

    Args:
        work: A reference to the job's `Work`.
        access: Where vectors come from.
        staging: The run's staging folder.
    """

    def __init__(self, work: Any, access: Access, staging: Location) -> None:
        import ray

        self._work: Work = ray.get(work)
        self._staging = staging
        self._failure: Row | None = None
        self._connections: Sequence[Connection] = ()
        try:
            self._connections = access.connections()
            self._check(access)
        except (DataError, AltClipError) as error:
            self._failure = failure(error)  # Ray would start an actor that fails to start again and again

    def __call__(self, row: Row) -> Row:
        """Makes a part. The row that it returns has the part, or what went wrong."""
        if self._failure is not None:
            return self._failure
        task = task_of(row)
        kept: list[Part] = []
        try:
            folder = begin_try(self._staging, f"part-{task.number}", self._work.manifest.layout)
        except (OutputError, RuntimeError) as error:
            return failure(error)
        started = time.monotonic()
        pipeline = Pipeline(self._work, [task], folder, stream_of(self._work, _log.warning), kept.append)
        try:
            pipeline.run(self._connections, lambda: None)
        except (AltClipError, DataError, OSError, ValueError) as error:
            end_try(folder)
            return failure(error)
        except BaseException:
            end_try(folder)
            raise
        (part,) = kept
        times = pipeline.times(time.monotonic() - started)
        return {
            "number": task.number,
            "folder": folder.name,
            "part": json.dumps(asdict(part)),
            "times": json.dumps(times),
            "kind": "",
            "message": "",
        }

    def _check(self, access: Access) -> None:
        """Raises RevisionChanged where this actor's encoders are not the ones of the job."""
        if access.addresses:
            return
        mine, wanted = self._connections[0].get_model(""), self._work.model
        if (mine.revision, mine.dtype) != (wanted.revision, wanted.dtype):
            raise RevisionChanged(
                f"a node has the model {mine.revision} in {mine.dtype}, and the job is made with "
                f"{wanted.revision} in {wanted.dtype}"
            )


def describe(access: Access) -> Row:
    """The model that the actors will have, and its limits; runs as a task on the cluster."""
    try:
        (encoders,) = access.connections()
        with contextlib.closing(encoders):
            return {"model": json.dumps(asdict(encoders.get_model("")))}
    except (DataError, AltClipError) as error:
        return failure(error)


def row_of(task: Task) -> Row:
    """What an actor is given."""
    earlier = "" if task.earlier is None else json.dumps(asdict(task.earlier))
    return {"number": task.number, "first": task.first, "rows": task.rows, "earlier": earlier}


def task_of(row: Mapping[str, Any]) -> Task:
    """The task of a row."""
    earlier = part_of(json.loads(row["earlier"])) if row["earlier"] else None
    return Task(int(row["number"]), int(row["first"]), int(row["rows"]), earlier)


def failure(error: BaseException) -> Row:
    """An error as a row: its kind, and what it says."""
    message = error.message if isinstance(error, AltClipError) else str(error)
    return {
        "number": -1,
        "folder": "",
        "part": "",
        "times": "",
        "kind": type(error).__name__,
        "message": message,
    }


def raise_failure(row: Mapping[str, Any]) -> None:
    """Raises the error of a row, if it has one."""
    kind, message = row.get("kind", ""), row.get("message", "")
    if not kind:
        return
    if kind == OutputError.__name__:
        raise OutputError(message)
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, AltClipError):
        raise known(message)
    if kind == RuntimeError.__name__:
        raise Unavailable(message)
    raise DataError(message)
