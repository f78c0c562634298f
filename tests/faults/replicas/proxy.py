"""A real Envoy with the documented configuration, `deploy/envoy/envoy.yaml`; only addresses are others."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml

from tests.faults.replicas.instances import Instance, fixed_port
from tests.overlays import overlay
from tests.server import until

__all__ = ["CONFIGURATION", "Envoy", "envoy", "is_installed"]

PROGRAM = Path(sys.prefix) / "envoy" / "bin" / "envoy"
CONFIGURATION = Path(__file__).parents[3] / "deploy" / "envoy" / "envoy.yaml"


@dataclass(frozen=True, slots=True)
class Envoy:
    """One that runs. grpc, http, admin: `host:port`."""

    grpc: str
    http: str
    admin: str

    def counter(self, name: str) -> int:
        """One number of its statistics, such as `cluster.grpc.upstream_rq_retry`."""
        return int(self._get(f"/stats?filter=^{name}$").rpartition(": ")[2] or 0)

    def healthy(self, cluster: str) -> int:
        """How many instances get calls: that answer health checks and are not ejected."""
        return self.counter(f"cluster.{cluster}.membership_healthy")

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
            return str(answer.read().decode())


def is_installed() -> bool:
    """Whether `make envoy` has installed it."""
    return (Path(sys.prefix) / "envoy" / ".stamp").exists()


@contextmanager
def envoy(instances: Sequence[Instance]) -> Iterator[Envoy]:
    """In front of these instances, once it has seen that all are ready. A test that fails shows its log."""
    environment = overlay("envoy")
    program = Path(sys.prefix) / "envoy" / "bin" / "envoy"
    addresses = {name: f"127.0.0.1:{fixed_port()}" for name in ("grpc", "http", "admin")}
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["admin"]["address"] = _socket(addresses["admin"])
    for listener in configuration["static_resources"]["listeners"]:
        listener["address"] = _socket(addresses[listener["name"]])
    for cluster in configuration["static_resources"]["clusters"]:
        own = [instance.grpc if cluster["name"] == "grpc" else instance.http for instance in instances]
        endpoints = [{"endpoint": {"address": _socket(address)}} for address in own]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
    command = [str(program), "--config-yaml", yaml.safe_dump(configuration), *options]
    with (
        TemporaryFile("w+") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        running = Envoy(**addresses)
        try:
            until(lambda: _is_ready(running, len(instances), process), what="Envoy is ready")
            yield running
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
            output.seek(0)
            print(output.read()[-4000:])


def _is_ready(running: Envoy, instances: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Envoy ended: its log is below"
    try:
        return all(running.healthy(cluster) == instances for cluster in ("grpc", "http"))
    except OSError:
        return False


def _socket(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
