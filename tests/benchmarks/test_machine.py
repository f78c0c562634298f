"""What others have of the machine while something is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.machine import MARK, Spent, machine, ours, spent, taken

BUSY = """
import time
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
print("done", flush=True)
input()
"""
LEAVING = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin)
print(left.pid, flush=True)
"""
"""Starts a process, tells its number, and ends before it."""


def test_what_is_used_and_is_not_ours_is_others() -> None:
    before = Spent(all=100, used=40, stolen=2, ours=10)
    after = Spent(all=120, used=55, stolen=3, ours=20)
    share = taken(before, after)
    assert (share.others, share.stolen) == (0.25, 0.05)


def test_others_had_nothing_where_we_used_it_all() -> None:
    assert taken(Spent(0, 0, 0, 0), Spent(10, 8, 0, 8.1)).others == 0


def test_no_time_gives_no_share() -> None:
    moment = Spent(100, 40, 2, 10)
    assert taken(moment, moment).others == 0


def test_what_a_child_spends_is_ours_while_it_runs_and_when_it_has_ended() -> None:
    before = spent()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        assert spent().ours - before.ours > 0.2
        child.communicate("\n")
    assert spent().ours - before.ours > 0.2


@contextlib.contextmanager
def left_alone() -> Iterator[psutil.Process]:
    """A process whose parent has ended."""
    child = subprocess.Popen([sys.executable, "-c", LEAVING], stdin=-1, stdout=-1, text=True)
    assert child.stdout is not None
    process = psutil.Process(int(child.stdout.readline()))
    try:
        child.wait(30)
        yield process
    finally:
        process.kill()
        child.communicate()


def test_a_process_that_left_its_parent_is_ours_by_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, f"test-{os.getpid()}")
    with left_alone() as process:
        assert process in ours()


def test_a_process_that_is_no_descendant_and_has_no_mark_is_a_stranger() -> None:
    with left_alone() as process:
        assert process not in ours()


def test_a_machine_is_told_by_what_speed_depends_on() -> None:
    kind = machine()
    assert kind["processor"]
    assert int(kind["cores"]) >= 1
    assert kind.keys() >= {"instructions", "python"}
