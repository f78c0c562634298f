"""What the server's own page and the kernel say of it, at intervals: a thread, so that no load delays it.

    /metrics       every sample; a counter that is lower than it was before is written down
    /proc/PID/…    memory, descriptors and shared memory of each process

What is kept is bounded: the last scrape, and some hundreds of samples of a few numbers.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.server import RunningServer

__all__ = ["Footprint", "Sample", "Scrape", "Watch", "footprints", "scrape", "session", "shared_memory"]

Series = tuple[str, frozenset[tuple[str, str]]]
_SHARED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +/memfd:altclip", re.MULTILINE)
_COUNTS = ("_total", "_count", "_sum", "_bucket")


class Footprint(NamedTuple):
    """One process. Memory in bytes: rss, and anonymous (nobody else's). descriptors: open ones. shared: the
    inodes of the shared memory that it maps, and their bytes. children: of its own, each of which takes a
    descriptor."""

    pid: int
    title: str
    rss: int
    anonymous: int
    proportional: int
    descriptors: int
    shared: Mapping[int, int]
    children: int


class Scrape:
    """All samples of one look at /metrics."""

    def __init__(self, text: str) -> None:
        self.samples: dict[Series, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def sum(self, name: str, **labels: str) -> float:
        """Of the samples of this name with these labels."""
        wanted = labels.items()
        return sum(
            value for (found, given), value in self.samples.items() if found == name and given >= set(wanted)
        )

    def fallen(self, before: Scrape) -> list[str]:
        """The counters that are lower than they were, or gone."""
        return [
            f"{name} {dict(labels)}: {was} → {self.samples.get((name, labels))}"
            for (name, labels), was in before.samples.items()
            if name.endswith(_COUNTS) and self.samples.get((name, labels), -1.0) < was - 1e-9 * abs(was)
        ]


class Sample(NamedTuple):
    """seconds: since the watch began. calls: that ended, by code. total: proportional bytes of all processes.
    anonymous: bytes by process id. descriptors: of all."""

    seconds: float
    calls: Mapping[str, float]
    slots: float
    total: int
    anonymous: Mapping[int, int]
    descriptors: int
    processes: int


@dataclass
class Watch:
    """Looks every `interval` seconds from `start` to `stop`."""

    server: RunningServer
    interval: float
    samples: list[Sample] = field(default_factory=list)
    fallen: list[str] = field(default_factory=list)
    seen: set[tuple[int, str]] = field(default_factory=set)
    scrapes: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """In a thread of its own."""
        self._began = time.monotonic()
        self._last: Scrape | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for the last look."""
        self._stop.set()
        self._thread.join(60)

    def since(self) -> float:
        """Seconds since the watch began."""
        return time.monotonic() - self._began

    def look(self) -> Scrape:
        """Scrapes, and compares with the scrape before."""
        found = scrape(self.server)
        if self._last is not None and len(self.fallen) < 20:
            self.fallen += found.fallen(self._last)
        self._last = found
        self.scrapes += 1
        return found

    def _run(self) -> None:
        while not self._stop.wait(self.interval):
            found = self.look()
            prints = footprints(self.server)
            calls: dict[str, float] = {}
            for (name, labels), value in found.samples.items():
                if name == "altclip_requests_total" and value:
                    code = dict(labels)["code"]
                    calls[code] = calls.get(code, 0.0) + value
            self.samples.append(
                Sample(
                    self.since(),
                    calls,
                    found.sum("altclip_slots_in_use"),
                    sum(each.proportional for each in prints),
                    {each.pid: each.anonymous for each in prints},
                    sum(each.descriptors for each in prints),
                    len(prints),
                )
            )


def scrape(server: RunningServer) -> Scrape:
    """One look at /metrics."""
    return Scrape(server.scrape())


def footprints(server: RunningServer) -> list[Footprint]:
    """Of the supervisor and everything below it; those that end meanwhile are left out."""
    found = []
    children = [(child.pid, child.ppid()) for child in _quietly(server)]
    for pid in (server.pid, *(pid for pid, _ in children)):
        try:
            found.append(_footprint(pid, sum(parent == pid for _, parent in children)))
        except (OSError, KeyError):
            continue
    return found


def shared_memory(pid: int) -> Mapping[int, int]:
    """The bytes of each piece that a process maps, by its inode."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {int(inode): int(end, 16) - int(start, 16) for start, end, inode in _SHARED.findall(maps)}


def session(leader: int) -> list[str]:
    """Whatever still lives in a server's session, its own process included: its title and number."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(f"{pid} {_title(pid)}")
        except (OSError, psutil.NoSuchProcess):
            continue
    return found


def _quietly(server: RunningServer) -> list[psutil.Process]:
    found = []
    for process in server.processes(""):
        try:
            process.ppid()
        except psutil.NoSuchProcess:
            continue
        found.append(process)
    return found


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def _footprint(pid: int, children: int) -> Footprint:
    folder = Path(f"/proc/{pid}")
    memory = {
        name: 1024 * int(value.split()[0])
        for name, _, value in (
            line.partition(":") for line in (folder / "smaps_rollup").read_text().splitlines()[1:]
        )
    }
    return Footprint(
        pid,
        _title(pid),
        memory["Rss"],
        memory["Pss_Anon"],
        memory["Pss"],
        sum(1 for _ in (folder / "fd").iterdir()),
        shared_memory(pid),
        children,
    )
