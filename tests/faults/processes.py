"""What the tests of dying processes share: a stub service that reacts quickly, and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from altclip.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from tests.server import RunningServer, start_server

__all__ = ["QUICK", "embed", "health", "leftovers", "open_stub", "service", "worker_of"]

# Short times, so that a test sees in seconds what takes minutes in service.
QUICK = ("--restart-backoff=100ms", "--grace=10", "--batch-tokens=4096", "--batch-images=32")


@contextmanager
def service(source: str = "m=stub:dimension=8,image_size=32", *arguments: str) -> Iterator[RunningServer]:
    """A running stub service; its log is shown with a test that fails."""
    with start_server("--model", source, *QUICK, *arguments) as running:
        try:
            yield running
        finally:
            print(running.logs.tail())


@contextmanager
def open_stub(server: RunningServer) -> Iterator[embedding_service_pb2_grpc.EmbeddingServiceStub]:
    """A client without retries, on a connection of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        yield embedding_service_pb2_grpc.EmbeddingServiceStub(channel)


def embed(
    stub: embedding_service_pb2_grpc.EmbeddingServiceStub, *texts: str, model: str = "", seconds: float = 10.0
) -> embedding_service_pb2.EmbedTextResponse:
    """One call; raises grpc.RpcError."""
    request = embedding_service_pb2.EmbedTextRequest(model=model, texts=texts or ("a cat",))
    return stub.EmbedText(request, timeout=seconds)


def health(server: RunningServer, name: str = "") -> str:
    """SERVING, NOT_SERVING, or the code of a failed check."""
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types miss the methods
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def worker_of(server: RunningServer, model: str = "m") -> psutil.Process:
    """The one worker of a model."""
    (worker,) = server.processes(f"altclip-worker {model} ")
    return worker


def leftovers() -> set[str]:
    """What a server could leave behind: shared memory, sockets and files with names."""
    found = {str(path) for folder in ("/dev/shm", "/tmp") for path in Path(folder).glob("*altclip*")}
    sockets = Path("/proc/net/unix").read_text().splitlines()
    found |= {line.split()[-1] for line in sockets if "altclip" in line}
    return found | {str(path) for path in Path("/dev/shm").iterdir() if path.owner() == _me()}


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
