"""The machine that figures are taken on: what kind it is, and how much of it others had meanwhile.

    the processor's time ── idle ── stolen by the hypervisor ── used ── by us ── by others

"Us" is this process and its descendants, and whoever else carries the mark of this run in its environment:
a process that has left its parent, as Ray's do, is still ours.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.runtime.cores import usable_cores

__all__ = ["Spent", "Taken", "machine", "mark", "ours", "spent", "taken"]

MARK = "ALTCLIP_BENCHMARK"
WANTED = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@functools.cache
def machine() -> dict[str, str]:
    """What kind of machine this is: processor, instructions that matter, cores we may use, CUDA device."""
    name, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() == "flags":
                flags = " ".join(flag for flag in WANTED if flag in value.split())
    found = {"processor": name, "instructions": flags, "cores": str(usable_cores())}
    if device := _cuda_device():
        found["device"] = device
    return found | {"python": platform.python_version()}


def _cuda_device() -> str:
    """The first one's name, as its driver tells it without torch."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return ""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time since some moment: of all cores in all states, and of three parts of it."""

    all: float
    used: float
    stolen: float
    ours: float


@dataclass(frozen=True, slots=True)
class Taken:
    """The shares of the machine's processor time that others used and that the hypervisor gave away."""

    others: float
    stolen: float


def taken(before: Spent, after: Spent) -> Taken:
    """What others had of the machine between two looks at it."""
    everything = after.all - before.all
    if everything <= 0:
        return Taken(0.0, 0.0)
    ours = max(0.0, after.ours - before.ours)
    others = max(0.0, after.used - before.used - ours)
    stolen = max(0.0, after.stolen - before.stolen)
    # The kernel's sums are floats in seconds: a part may come out a hair larger than the whole.
    return Taken(min(1.0, others / everything), min(1.0, stolen / everything))


def mark() -> None:
    """Marks this process's descendants as ours, wherever their parents leave them."""
    os.environ[MARK] = str(os.getpid())


def spent() -> Spent:
    """The processor time that was spent until now."""
    times = psutil.cpu_times()
    # Linux counts the time of guests within `user` and `nice` already.
    states = (times.user, times.nice, times.system, times.irq, times.softirq)
    used, stolen = sum(states), times.steal
    return Spent(used + stolen + times.idle + times.iowait, used, stolen, sum(map(_seconds, ours())))


def ours() -> set[psutil.Process]:
    """The processes whose time is ours."""
    itself = psutil.Process()
    found = {itself, *itself.children(recursive=True)}
    wanted = os.environ.get(MARK)
    for process in psutil.process_iter() if wanted else ():
        with contextlib.suppress(psutil.Error, OSError):
            if process not in found and process.environ().get(MARK) == wanted:
                found |= {process, *process.children(recursive=True)}
    return found


def _seconds(process: psutil.Process) -> float:
    """Its own, and that of its children that have ended."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
