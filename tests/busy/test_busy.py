"""What `make test-busy` starts takes the machine, and never stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.busy.__main__ import busy, main
from tests.server import outliving, until


def ran(process: psutil.Process) -> float:
    """Seconds of processor time."""
    return float(process.cpu_times().user)


def test_they_want_a_core_each_and_end_with_the_block() -> None:
    with busy(2) as started:
        processes = [psutil.Process(each.pid) for each in started]
        assert len(processes) == 2
        for process in processes:
            until(lambda process=process: ran(process) > 0.2, what="it is busy")  # type: ignore[misc]
    assert not any(process.is_running() for process in processes)


def test_they_end_when_their_time_is_up() -> None:
    with busy(1, seconds=0.2) as (process,):
        assert process.wait(60) == 0


def test_the_status_is_that_of_the_command() -> None:
    assert main([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert main([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9


@contextmanager
def running() -> Iterator[subprocess.Popen[str]]:
    """A command that goes on for long, beside busy processes. It says when it has begun."""
    told = "import time; print('begun', flush=True); time.sleep(300)"
    command = [sys.executable, "-m", "tests.busy", sys.executable, "-c", told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_none_of_them_stays(number: signal.Signals) -> None:
    with running() as process:
        children = psutil.Process(process.pid).children()
        busy_ones = [child for child in children if "while os.getppid()" in " ".join(child.cmdline())]
        assert len(busy_ones) == len(psutil.Process().cpu_affinity() or [])
        process.send_signal(number)
        assert process.wait(60) in (128 + signal.SIGTERM, -signal.SIGKILL)
        assert outliving(busy_ones, seconds=30.0) == []
        for child in children:
            if child not in busy_ones and child.is_running():
                assert number == signal.SIGKILL, "the command is ended, too"
                child.kill()


def test_an_interrupt_is_the_commands_and_it_is_waited_for() -> None:
    with running() as process:
        children = psutil.Process(process.pid).children()
        for one in (process.pid, *(child.pid for child in children if "print(" in " ".join(child.cmdline()))):
            psutil.Process(one).send_signal(signal.SIGINT)
        assert process.wait(60) not in (0, -signal.SIGINT)
        assert outliving(children, seconds=30.0) == []
