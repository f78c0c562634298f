"""Real worker processes without a supervisor: the test plays its part on the control channel."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.frontend.compute.pool import ModelPool
from worker.models.sources import resolve
from worker.runtime import memory
from worker.runtime.control import Channel
from worker.runtime.metrics import Layout, Metrics
from worker.spec import ModelInfo, ModelSpec

__all__ = ["Worker", "started"]


@dataclass
class Worker:
    """A worker that is ready. metrics: the page that it writes. sha256: of its weights, as it told before it
    was ready; "" where it did not."""

    spec: ModelSpec
    info: ModelInfo
    process: subprocess.Popen[bytes]
    channel: Channel
    metrics: Metrics
    sha256: str = ""
    _links: int = field(default=0)

    def link(self) -> int:
        """The descriptor of a new frontend's end of a link."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.channel.send("link", {"frontend": self._links}, [theirs.fileno()])
        self._links += 1
        return ours.detach()

    def join(self, pool: ModelPool, worker_id: int = 0) -> None:
        """Makes this worker one of the pool's."""
        pool.add_worker(worker_id, "0", "cpu", self.info, self.link())


@contextmanager
def started(
    source: str, *, tokens: int = 256, images: int = 8, wait: float = 0.0, weights_known: bool = False
) -> Iterator[Worker]:
    """A worker for that model source, killed at the end if it still runs. weights_known: another one of the
    model has told its weights."""
    spec = resolve(source)
    layout = Layout(models=(spec.name,), devices=("cpu",))
    page = memory.create("test-metrics", Metrics.size(layout))
    channel, theirs = Channel.pair()
    command = [sys.executable, "-P", "-m", "worker", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    try:
        config = {
            "model": spec.to_dict(),
            "device": "cpu",
            "dtype": "auto",
            "threads": 1,
            "kernels": "auto",
            "known_kernels": {},
            "weights_known": weights_known,
            "batching": {"tokens": tokens, "images": images, "wait": wait, "budgets": None},
            "metrics": layout.to_dict(),
            "log_level": "warning",
            "number": 0,
        }
        channel.send("config", config, [page])
        told: dict[str, dict[str, Any]] = {}
        while "ready" not in told:
            message = channel.receive()
            assert message is not None, "the worker died while loading"
            assert message.type in ("weights", "ready"), message.body
            told[message.type] = message.body
        info = ModelInfo.from_dict(told["ready"]["info"])
        sha256 = told["weights"]["sha256"] if "weights" in told else ""
        yield Worker(spec, info, process, channel, Metrics(layout, memory.attach(page)), sha256)
    finally:
        process.kill()
        process.wait()
        channel.close()
