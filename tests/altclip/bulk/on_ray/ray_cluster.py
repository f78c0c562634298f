"""A real Ray cluster of several nodes on this machine, in a process of its own.

    python -m tests.altclip.bulk.on_ray.ray_cluster NODES

It prints the cluster's address, then takes a line for each order: `remove` ends a node that runs an actor, as
a power cut does, and prints how many are left. At the end of its input the cluster ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import psutil

from tests.overlays import overlay

STORE_BYTES = 80 << 20
ACTOR = "MapWorker"


@dataclass
class RunningCluster:
    """A cluster whose head has no CPUs, and whose other nodes have one each."""

    process: subprocess.Popen[str]
    address: str
    environment: dict[str, str]

    def actors(self) -> list[psutil.Process]:
        """The processes of actors that make parts."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if ACTOR in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def remove_node(self) -> int:
        """Ends a node with all that runs on it. Returns how many are left."""
        _pipe(self.process.stdin).write("remove\n")
        _pipe(self.process.stdin).flush()
        return int(json.loads(_pipe(self.process.stdout).readline())["nodes"])

    def add_node(self) -> int:
        """One more. Returns how many there are."""
        _pipe(self.process.stdin).write("add\n")
        _pipe(self.process.stdin).flush()
        return int(json.loads(_pipe(self.process.stdout).readline())["nodes"])


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[RunningCluster]:
    """The cluster; it has ended when the block has. Skips where Ray is not installed."""
    environment = {
        **overlay("ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A node that is gone is noticed after three of these.
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.altclip.bulk.on_ray.ray_cluster", str(nodes)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = _pipe(process.stdout).readline()
        assert line, "no Ray cluster has started"
        yield RunningCluster(process, json.loads(line)["address"], environment)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        _pipe(process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def main() -> None:
    """See the module."""
    # What Ray prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    sizes: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **sizes})
    nodes = [cluster.add_node(num_cpus=1, **sizes) for _ in range(int(sys.argv[1]))]

    def answer(found: dict[str, Any]) -> None:
        answers.write(f"{json.dumps(found)}\n")
        answers.flush()

    answer({"address": cluster.address})
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(num_cpus=1, **sizes))
        answer({"nodes": len(nodes)})
    cluster.shutdown()


if __name__ == "__main__":
    main()
