"""The service as a process of the demo: started on free ports, and gone when the demo is, however it ends."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

READY_SECONDS = 90.0
STOP_SECONDS = 30.0
ADDRESSES = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--ops-address", "127.0.0.1:0")
_PR_SET_PDEATHSIG = 1


class ServiceError(Exception):
    """The service did not start, or did not stop as it should."""


@dataclass
class Service:
    """A service that said it is ready; addresses are `host:port`."""

    process: subprocess.Popen[str]
    log: Log
    grpc: str
    http: str
    ops: str
    seconds: float
    status: int | None = None

    def metrics(self) -> list[str]:
        """The lines of `/metrics` that are samples."""
        with urllib.request.urlopen(f"http://{self.ops}/metrics", timeout=10) as response:
            lines: list[str] = response.read().decode().splitlines()
        return [line for line in lines if not line.startswith("#")]


class Log:
    """What the service writes to standard error: read by a thread, so that it never blocks there."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._last: collections.deque[str] = collections.deque(maxlen=15)
        self._ready: dict[str, str] = {}
        self._changed = threading.Event()
        self._reader = threading.Thread(target=self._read, name="service-log", daemon=True)
        self._reader.start()

    def ready(self, seconds: float) -> dict[str, str]:
        """The addresses it listens on. Raises ServiceError when it ends, or says nothing for so long."""
        if not self._changed.wait(seconds):
            raise ServiceError(f"not ready after {seconds:.0f} s; its last words:\n{self.tail()}")
        if not self._ready:
            raise ServiceError(f"it ended before it was ready; its last words:\n{self.tail()}")
        return self._ready

    def tail(self) -> str:
        return "\n".join(self._last)

    def _read(self) -> None:
        for line in self._stream:
            self._last.append(line.rstrip())
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("event") == "ready":
                    self._ready = record
                    self._changed.set()
        self._changed.set()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Service]:
    """Starts the service and stops it at the end. Raises ServiceError unless it stops with status 0."""
    began = time.monotonic()
    process = subprocess.Popen(
        [_command(), *ADDRESSES, *arguments],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is the demo's alone; it then stops the service in order
        preexec_fn=_stop_with_parent,
    )
    try:
        if process.stderr is None:
            raise ServiceError("its log cannot be read")
        log = Log(process.stderr)
        ready = log.ready(READY_SECONDS)
        service = Service(process, log, ready["grpc"], ready["http"], ready["ops"], time.monotonic() - began)
        yield service
        service.status = _stop(process)
        if service.status != 0:
            raise ServiceError(f"it stopped with status {service.status}; its last words:\n{log.tail()}")
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> int:
    """Asks it to stop and waits; kills it when it takes too long or the demo is interrupted again."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise ServiceError(f"it had not stopped after {STOP_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()  # its children end with it
            process.wait()


def _stop_with_parent() -> None:
    """In the child: asks the kernel to stop it when the demo is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """The demo's own, without the settings of other servers: their models, keys and limits."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ALTCLIP_")}


def _command() -> str:
    """The server's command of the environment that the demo runs in."""
    beside = Path(sys.executable).with_name("altclip-server")
    found = str(beside) if beside.exists() else shutil.which("altclip-server")
    if found is None:
        raise ServiceError("the command altclip-server is missing: run `make setup`")
    return found
