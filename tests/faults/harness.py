"""What the tests of dying processes share: a stub service that reacts quickly, and what it leaves."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from altclip.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from tests.load import picture
from tests.server import RunningServer, start_server, until

__all__ = [
    "BUGS",
    "DRAINED",
    "QUICK",
    "ROOM",
    "Failure",
    "Holds",
    "all_ready",
    "all_started",
    "computed",
    "crew",
    "die_in_mid_batch",
    "embed",
    "failure_of",
    "health",
    "idle",
    "leftovers",
    "open_stub",
    "replacing",
    "service",
    "under_way",
    "worker_of",
]

# Short times, so that a test sees in seconds what takes minutes in service.
QUICK = ("--restart-backoff=100ms", "--grace=10", "--batch-tokens=4096", "--batch-images=32")

ROOM = 8.0
"""Seconds that a machine whose cores are all taken may add to a bound that is stated in seconds."""

DRAINED = frozenset({"UNAVAILABLE", "CANCELLED"})
"""How a call without retries may end, beside its answer, at a server that drains: it is refused, or, in the
moment of the GOAWAY, ended by gRPC's core before any handler sees it (docs/reliability.md)."""

_FOLDER = str(Path(__file__).parent / "bugs")
BUGS = {"PYTHONPATH": os.pathsep.join(filter(None, [_FOLDER, os.environ.get("PYTHONPATH", "")]))}
"""The environment of a server whose processes have the bugs of `bugs/sitecustomize.py`."""


@contextmanager
def service(
    source: str = "m=stub:dimension=8,image_size=32",
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """A running stub service; its log is shown with a test that fails."""
    with start_server("--model", source, *QUICK, *arguments, environment=environment) as running:
        try:
            yield running
        finally:
            print(running.logs.tail())


def computed(calls: Path) -> list[int]:
    """How many items each batch of a stub held so far. calls: the file of its option of that name."""
    return [int(line.split()[1]) for line in calls.read_text().splitlines()] if calls.exists() else []


@contextmanager
def open_stub(server: RunningServer) -> Iterator[embedding_service_pb2_grpc.EmbeddingServiceStub]:
    """A client without retries, on a connection of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        yield embedding_service_pb2_grpc.EmbeddingServiceStub(channel)


def embed(
    stub: embedding_service_pb2_grpc.EmbeddingServiceStub, *texts: str, model: str = "", seconds: float = 60.0
) -> embedding_service_pb2.EmbedTextResponse:
    """One call; raises grpc.RpcError."""
    request = embedding_service_pb2.EmbedTextRequest(model=model, texts=texts or ("a cat",))
    return stub.EmbedText(request, timeout=seconds)


def all_started(server: RunningServer) -> None:
    """Returns once a decoder works, too: the first one starts when the server is ready, and takes memory."""
    with open_stub(server) as stub:
        embed(stub)
        image = embedding_service_pb2.Image(content=picture("starts a decoder"))
        stub.EmbedImage(embedding_service_pb2.EmbedImageRequest(images=[image]), timeout=60)


def health(server: RunningServer, name: str = "") -> str:
    """SERVING, NOT_SERVING, or the code of a failed check."""
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types miss the methods
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def worker_of(server: RunningServer, model: str = "m") -> psutil.Process:
    """The one worker of a model."""
    (worker,) = server.processes(f"altclip-worker {model} ")
    return worker


@contextmanager
def replacing(server: RunningServer, count: int = 1) -> Iterator[None]:
    """A block in which so many frontends or workers end. It returns once as many others have become ready.

    The supervisor counts each end before it starts another process. Just after an end `/readyz` and health
    still say what they said before.
    """

    def ends() -> float:
        return sum(server.metric(f"altclip_{kind}_restarts_total") for kind in ("worker", "frontend"))

    before = ends()
    yield
    until(lambda: ends() >= before + count, what="the ends are noticed")
    until(lambda: all_ready(server), what="successors are ready")
    until(lambda: health(server) == "SERVING", what="frontends know of their workers")


def all_ready(server: RunningServer) -> bool:
    """Whether every frontend listens and every worker is ready, as the supervisor knows it now."""
    said = json.loads(server.get("/readyz")[1])
    return all(said[kind]["ready"] == said[kind]["of"] for kind in ("workers", "frontends"))


def under_way(server: RunningServer) -> None:
    """Returns once the only worker computes something, or waits with a batch."""
    until(
        lambda: server.metric("altclip_oldest_inflight_seconds") > 0,
        what="the call is under way",
        interval=0.005,
    )


def idle(server: RunningServer) -> None:
    """Returns once no worker computes anything: it says so just after it has sent the last answer."""
    until(lambda: server.metric("altclip_oldest_inflight_seconds") == 0, what="nothing is computed")


def crew(server: RunningServer) -> set[int]:
    """The ids of all frontends and workers: the same ones where none was replaced."""
    return {child.pid for child in psutil.Process(server.pid).children()}


@dataclass(frozen=True)
class Failure:
    """A call that failed. retry_seconds: 0 where there is no RetryInfo. sent: all that the client got."""

    code: str
    reason: str
    retry_seconds: float
    sent: str


def failure_of(error: grpc.RpcError) -> Failure:
    """Of a unary call or a stream; one without details has no reason."""
    trailers = {each.key: each.value for each in error.trailing_metadata() or ()}
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(retry)
    seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    sent = f"{error.details()} {trailers} {status}"
    return Failure(error.code().name, info.reason, seconds, sent)


@dataclass(frozen=True)
class Holds:
    """Two files: while they exist, a stub with these options holds its batch, or its loading."""

    batch: Path
    load: Path

    @classmethod
    def of(cls, folder: Path) -> Holds:
        return cls(folder / "hold", folder / "load_hold")

    @property
    def options(self) -> str:
        return f"hold={self.batch},load_hold={self.load}"


def die_in_mid_batch(server: RunningServer, holds: Holds, kill: Callable[[psutil.Process], None]) -> None:
    """Eight calls of three texts are under way when the only worker is killed in the middle of a batch.

    Its batch is held, however late the callers come, and its successor does not load before they have heard.

    Callers hear of it in under a second and when to come again, health is down until the model is loaded, one
    restart is counted, and the books balance.
    """
    label = {"model": "m", "device": "cpu"}
    with open_stub(server) as stub:
        first = embed(stub)
        requests = server.metric("altclip_requests_total")
        refused = server.metric("altclip_requests_total", code="UNAVAILABLE")
        failed = server.metric("altclip_items_total", outcome="failed")
        restarts = server.metric("altclip_worker_restarts_total", **label)
        accepted = server.metric("altclip_items_accepted_total")
        worker = worker_of(server)
        outcomes: list[tuple[Failure, float]] = []
        died: list[float] = []

        def call() -> None:
            try:
                embed(stub, "a", "b", "c")
            except grpc.RpcError as error:
                outcomes.append((failure_of(error), time.monotonic() - died[0]))

        calls = [threading.Thread(target=call) for _ in range(8)]
        holds.batch.touch()
        holds.load.touch()
        for thread in calls:
            thread.start()
        under_way(server)
        until(
            lambda: server.metric("altclip_items_accepted_total") == accepted + 24,
            what="all calls are under way",
        )
        died.append(time.monotonic())
        kill(worker)
        for thread in calls:
            thread.join(60)
        holds.batch.unlink()
        assert [failure.code for failure, _ in outcomes] == ["UNAVAILABLE"] * 8
        assert {failure.reason for failure, _ in outcomes} == {"WORKER_UNAVAILABLE"}
        assert all(failure.retry_seconds > 0 for failure, _ in outcomes)
        assert max(took for _, took in outcomes) < 1.0 + ROOM
        # Not as long as its process lives: as long as it cannot work.
        assert health(server) == "NOT_SERVING"
        holds.load.unlink()
        until(lambda: server.metric("altclip_worker_up") == 1, what="a new worker")
        until(lambda: health(server) == "SERVING", what="health comes back")
        assert server.metric("altclip_worker_restarts_total", **label) == restarts + 1
        assert embed(stub).embeddings == first.embeddings
        # Nothing was lost from the books: eight calls that failed, and one after them.
        until(lambda: server.metric("altclip_requests_total") == requests + 9, what="the counts")
        assert server.metric("altclip_requests_total", code="UNAVAILABLE") == refused + 8
        assert server.metric("altclip_items_total", outcome="failed") == failed + 24


def leftovers(temporary: Path) -> set[str]:
    """What a server could leave behind: shared memory, sockets and files with names.

    temporary: its folder for such files. Other programs make some of the rest, and remove it soon.
    """
    sockets = Path("/proc/net/unix").read_text().splitlines()
    found = {line.split()[-1] for line in sockets if "altclip" in line}
    found |= {str(path) for path in temporary.iterdir()}
    for path in Path("/dev/shm").iterdir():
        with suppress(FileNotFoundError):
            if "altclip" in path.name or path.stat().st_uid == os.getuid():
                found.add(str(path))
    return found
