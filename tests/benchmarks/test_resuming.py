"""A run of the benchmarks that is interrupted: what the next one takes up, and what is left behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks import __main__ as run
from benchmarks.kept import write_part
from benchmarks.report import Found, Row
from tests.server import until

PARTS = ("a", "b", "c")


class Parts:
    """Stands for the parts' processes: each leaves its file, unless the user interrupts it."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.interrupted = ""

    def apart(self, name: str, path: Path, now: str, quick: bool) -> Found:
        self.taken.append(name)
        if name == self.interrupted:
            raise KeyboardInterrupt
        found = Found([Row(name, "nothing", [float(len(self.taken))])])
        write_part(path, found, now)
        return found


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    parts = Parts()
    monkeypatch.setattr(run, "PARTS", dict.fromkeys(PARTS))
    monkeypatch.setattr(run, "_apart", parts.apart)
    return parts


@pytest.fixture
def take(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Found]]:
    """Runs the parts with this code; the name of the commit."""

    def take(commit: str = "abc", *, anew: bool = False) -> dict[str, Found]:
        parts.taken.clear()
        monkeypatch.setattr(run, "code", lambda: commit)
        return run._all(tmp_path, None, quick=False, anew=anew)

    return take


Take = Callable[..., dict[str, Found]]


def test_a_run_goes_on_where_it_was_interrupted(parts: Parts, take: Take) -> None:
    parts.interrupted = "b"
    with pytest.raises(KeyboardInterrupt):
        take()
    parts.interrupted = ""
    found = take()
    assert parts.taken == ["b", "c"]
    assert [row.what for part in found.values() for row in part.rows] == ["a", "b", "c"]


def test_a_run_that_was_finished_is_shown_again(parts: Parts, take: Take) -> None:
    first = take()
    assert take() == first
    assert parts.taken == []


def test_a_run_anew_keeps_nothing(parts: Parts, take: Take) -> None:
    take()
    take(anew=True)
    assert parts.taken == list(PARTS)


def test_after_a_change_of_the_code_nothing_is_kept(parts: Parts, take: Take) -> None:
    take("abc")
    take("abd")
    assert parts.taken == list(PARTS)


DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""
"""A part that does not end when it is told to, and has a server."""


def test_nothing_is_left_of_a_part_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "END_SECONDS", 0.1)
    part = subprocess.Popen([sys.executable, "-c", DEAF], stdout=-1, text=True, start_new_session=True)
    assert part.stdout is not None
    server = psutil.Process(int(part.stdout.readline()))
    run._end(part)
    assert part.returncode is not None
    until(lambda: not _runs(server), seconds=30, what="the part's server has ended")
    part.stdout.close()


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
