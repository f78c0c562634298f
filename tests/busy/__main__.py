"""Runs a command while as many busy processes as there are cores take the machine.

    python -m tests.busy COMMAND ARGUMENT…

Its exit status is the command's. The busy processes end with it, with this process, however that ends, and in
any case after `MOST_SECONDS`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["busy", "main"]

MOST_SECONDS = 3600.0

# Looks from time to time whether it is still wanted: whoever started it may have been killed.
_BUSY = """
import os, sys, time
parent, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == parent and time.monotonic() < end:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def busy(processes: int, seconds: float = MOST_SECONDS) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many of them, each of which wants a core for itself, for so long at most."""
    command = [sys.executable, "-S", "-c", _BUSY, str(os.getpid()), str(seconds)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            # A session of its own: an interrupt of the terminal is for the command.
            process = subprocess.Popen(command, start_new_session=True)
            started.append(process)
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def main(command: Sequence[str]) -> int:
    """The exit status of the command; 128 and the number of a signal that ended it, as shells have it."""
    running: list[subprocess.Popen[bytes]] = []
    asked = False

    def end(*_: object) -> None:
        nonlocal asked
        asked = True
        for process in running:
            process.terminate()

    # An interrupt of the terminal reaches the command as well, which ends in its own way. A request to end is
    # handed on. Both may come as soon as the command runs, and so before we know of it.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
    }
    try:
        with busy(len(os.sched_getaffinity(0))), subprocess.Popen(command) as process:
            running.append(process)
            if asked:
                process.terminate()
            status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
