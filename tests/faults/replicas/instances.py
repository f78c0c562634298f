"""Three instances of the service, each at an address of its own that outlives its processes.

with three() as instances:
    instances[0].restart()
account(instances)          # how calls and items ended, over all lives of all instances
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.harness import BUGS, QUICK
from tests.server import RunningServer, outliving, start_server

__all__ = ["BROKEN", "Account", "Instance", "account", "fixed_port", "three"]

Account = Counter[str]
"""How often what ended how: "OK", "UNAVAILABLE", … for calls of both transports, "items ok", … for items."""

OPTIONS = (
    "--model=m=stub:dimension=8,image_size=32,service_time=0.01,per_item=0.001",
    "--decoders=1",
    "--max-queue-items=64",
    "--grace=6",
    # A proxy's health checks do not ask for this name.
    "--http-hosts=embed.example.com",
)
BROKEN = "buggy"


class Instance:
    """One instance. `server` is what runs of it now."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.grpc, self.http, self.ops = (f"127.0.0.1:{fixed_port()}" for _ in range(3))
        self._arguments = arguments
        self._environment = {
            **environment,
            "ALTCLIP_GRPC_ADDRESS": self.grpc,
            "ALTCLIP_HTTP_ADDRESS": self.http,
            "ALTCLIP_OPS_ADDRESS": self.ops,
        }
        self._past: Account = Counter()
        self._running = ExitStack()
        self._suspended: list[psutil.Process] = []
        self.server: RunningServer

    def start(self) -> None:
        """Returns when it is ready."""
        self.server = self._running.enter_context(
            start_server(*QUICK, *self._arguments, environment=self._environment)
        )

    def stop(self) -> None:
        """SIGTERM; returns when it has drained. What it counted is kept."""
        assert self.server.stop() == 0, self.server.logs.tail()
        told = self.server.logs.wait_for("stopped")
        self._past += _of(told["calls"], told["items"])
        self._running.close()

    def restart(self) -> None:
        """As a rolling update does."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL to all its processes at once. What it counted until shortly before is kept."""
        self._past += self.counted()
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert outliving(processes, seconds=60.0) == []
        self._running.close()

    def suspend(self) -> None:
        """SIGSTOP to all its processes: it hangs, and its kernel still takes connections."""
        self._suspended = self._processes()
        for process in self._suspended:
            process.suspend()

    def resume(self) -> None:
        """SIGCONT; does nothing where it does not hang."""
        for process in self._suspended:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._suspended = []

    def end(self) -> None:
        """In any state."""
        self.resume()
        self._running.close()

    def counted(self) -> Account:
        """What ended since its start, by its metrics."""
        calls: Counter[str] = Counter()
        items: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.server.scrape()):
            for sample in family.samples:
                if sample.name == "altclip_caller_requests_total":
                    calls[sample.labels["code"]] += int(sample.value)
                elif sample.name == "altclip_items_total":
                    items[sample.labels["outcome"]] += int(sample.value)
        return _of(calls, items)

    def account(self) -> Account:
        """What ended in all its lives."""
        return self._past + self.counted()

    def _processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.server.pid)
        return [supervisor, *supervisor.children(recursive=True)]


def account(instances: Sequence[Instance]) -> Account:
    """Of all that run now."""
    return sum((instance.account() for instance in instances), Counter())


@contextmanager
def three() -> Iterator[list[Instance]]:
    """Three instances that are ready; the last one has a bug, and fails on the word `BROKEN`."""
    broken = [{}, {}, BUGS]
    instances = [Instance(*OPTIONS, environment=environment) for environment in broken]
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Instance.start, instances))
        yield instances
    finally:
        for instance in instances:
            instance.resume()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Instance.end, instances))


def fixed_port() -> int:
    """A port that is free now, and that the system gives to nobody else meanwhile: it is below those that
    clients and listeners on port 0 get."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(200):
        port = random.SystemRandom().randrange(min(20_000, lowest - 5000), lowest)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port below {lowest} is free")


def _of(calls: Mapping[str, Any], items: Mapping[str, Any]) -> Account:
    return +Counter({**calls, **{f"items {outcome}": count for outcome, count in items.items()}})
