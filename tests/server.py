"""Starts the real service as a process of its own, for tests that talk to it over its ports.

    with start_server("--model", "stub:dimension=8") as server:
        channel = grpc.insecure_channel(server.grpc)

Ports are free ones. Whatever happens, the service and its children have ended when the block has.
Only what was started here is ever signalled, each process by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

COMMAND = Path(sys.executable).with_name("altclip-server")
READY_SECONDS = 150.0
STOP_SECONDS = 60.0
PATIENCE = 60.0
"""Seconds that a test waits for what must come. They only end a test that fails, so there are many."""
FETCHING = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub

from service import cli

def fetched(*_, **__):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(threading.Event().wait)
        print("a file is fetched", flush=True)
        waiting.result()

huggingface_hub.snapshot_download = fetched
sys.exit(cli.main())
"""
"""The command with a hub that never answers. The library, too, fetches in threads and waits for them."""

# Given by environment, so that a test's own arguments win. `conftest.py` adds to them; benchmarks do not.
DEFAULTS = {
    "ALTCLIP_GRPC_ADDRESS": "127.0.0.1:0",
    "ALTCLIP_HTTP_ADDRESS": "127.0.0.1:0",
    "ALTCLIP_OPS_ADDRESS": "127.0.0.1:0",
    "ALTCLIP_DEVICE": "cpu",
}


class Logs:
    """What a process wrote: every line, and those that are JSON objects as records. A thread fills it."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.ended = False
        self._stream = stream
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="server-logs", daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("{"):
                    with contextlib.suppress(ValueError):
                        self.records.append(json.loads(line))
                self._changed.notify_all()
        self._stream.close()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_for(self, event: str, *, seconds: float = PATIENCE, start: int = 0) -> dict[str, Any]:
        """The first record from number `start` on with this `event`; AssertionError if none comes."""

        def found() -> dict[str, Any] | None:
            return next((record for record in self.records[start:] if record.get("event") == event), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self.ended, timeout=seconds)
            record = found()
        assert record is not None, f"no {event!r} in the log within {seconds} s:\n{self.tail()}"
        return record

    def tail(self, count: int = 40) -> str:
        return "\n".join(self.lines[-count:])


@dataclass
class RunningServer:
    """A service that said it is ready. Addresses are `host:port`; `http` is empty where there is none."""

    process: subprocess.Popen[str]
    logs: Logs
    grpc: str
    http: str
    ops: str
    ready: Mapping[str, Any]
    _seen: dict[int, psutil.Process] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def processes(self, title: str = "altclip-") -> list[psutil.Process]:
        """The living children whose title starts so: `altclip-worker`, `altclip-frontend 1`, …

        A child that has its parent's title is not yet itself: it has been forked and runs its own program
        in a moment.
        """
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.pid)
            titles = {self.pid: " ".join(server.cmdline())}
            for child in server.children(recursive=True):  # parents before their children
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._seen[child.pid] = child
                    titles[child.pid] = " ".join(child.cmdline())
                    itself = titles[child.pid] != titles.get(child.ppid())
                    if itself and titles[child.pid].startswith(title) and _runs(child):
                        found.append(child)
        return found

    def scrape(self) -> str:
        """The text of `/metrics`."""
        return self.get("/metrics")[1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that carry these labels; 0.0 where there are none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.scrape())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path on the operations port."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}{path}", timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self, *, seconds: float = STOP_SECONDS) -> int:
        """Asks it to stop (SIGTERM), waits, gives the exit status; AssertionError if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._wait(seconds)

    def kill(self) -> int:
        """Kills the supervisor outright (SIGKILL) and makes sure that nothing of it is left."""
        if self.process.poll() is None:
            self.processes()
            self.process.kill()
        return self._wait(STOP_SECONDS)

    def _wait(self, seconds: float) -> int:
        self.processes()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the service had not stopped after {seconds} s:\n{self.logs.tail()}"
            ) from None
        finally:
            # Children end with their supervisor; one that does not is not left behind by a test. psutil
            # compares start times, so a process that inherited the number is never touched.
            if self.process.poll() is not None:
                for child in outliving(self._seen.values(), seconds=3.0):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()


def outliving(processes: Iterable[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Those of the processes that have not ended within so many seconds.

    A zombie has ended: an orphan's waits for whoever is process 1 here, which may take its time.
    """
    end = time.monotonic() + seconds
    left = [*processes]
    while (left := [*filter(_runs, left)]) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def start_server(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    ready_seconds: float = READY_SECONDS,
    command: Path = COMMAND,
) -> Iterator[RunningServer]:
    """Starts `altclip-server` on free loopback ports with these arguments, and stops it at the end.

    `environment` is laid over this process's, from which every `ALTCLIP_…` is taken away first.
    """
    process, logs = launch(*arguments, environment=environment, command=command)
    server = RunningServer(process, logs, grpc="", http="", ops="", ready={})
    try:
        ready = logs.wait_for("ready", seconds=ready_seconds)
        server.grpc, server.http, server.ops = ready["grpc"], ready["http"], ready["ops"]
        server.ready = ready
        yield server
    finally:
        server.stop()


def launch(
    *arguments: str, environment: Mapping[str, str] | None = None, command: Path = COMMAND
) -> tuple[subprocess.Popen[str], Logs]:
    """Starts `altclip-server` and waits for nothing: for starts that fail. The caller ends the process."""
    assert command.exists(), f"{command} is missing: run `make setup`"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALTCLIP_")}
    process = subprocess.Popen(
        [str(command), *arguments],
        env={**inherited, **DEFAULTS, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # an interrupt is the test run's alone; it then stops the service in order
    )
    assert process.stdout is not None
    return process, Logs(process.stdout)


def free_port() -> int:
    """A TCP port of the loopback address that nobody has now, for a server that begins later, or never.

    It lies below those that the kernel chooses for whoever asks for none: nobody gets it by chance meanwhile.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, first)  # tests run in several processes
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


def until(
    condition: Callable[[], object], *, what: str, seconds: float = PATIENCE, interval: float = 0.02
) -> None:
    """Waits until `condition()` is true; AssertionError naming `what` when it is not in time.

    It is asked once more after that time: this process, too, may have stood still.
    """
    end = time.monotonic() + seconds
    late = False
    while not condition():
        assert not late, f"not within {seconds} s: {what}"
        time.sleep(interval)
        late = time.monotonic() >= end
