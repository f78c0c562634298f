"""Real processes that convert, and are ended or killed in the middle: the first leave nothing, and what the
second leave the next one removes, but never what a running one writes."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.server import COMMAND, FETCHING, PATIENCE
from worker.models import workspace
from worker.models.convert import convert

HELD = """
import importlib
import sys

from service import cli

module = importlib.import_module("{module}")
whole = module.{function}

def held(*given):
    print("it is under way", flush=True)
    sys.stdin.readline()
    return whole(*given)

module.{function} = held
sys.exit(cli.main())
"""
"""The command, which waits for a line when it comes to this function."""
IN_THE_MIDDLE = HELD.format(module="worker.models.convert", function="read_backend")
NEAR_THE_END = HELD.format(module="worker.checkpoint", function="sha256_of")
SOON = """
from service import cli

cli.CLEANUP_SECONDS = 0.1
"""
"""Goes before other code: a conversion that is ended has so long to remove what is unfinished."""
AS_PROCESS_1 = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@contextlib.contextmanager
def started(
    code: str, first_line: str, source: str, target: Path, *prefix: str
) -> Iterator[subprocess.Popen[str]]:
    """A real conversion, from when it has come so far. It has ended after the block."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", code, "convert", source, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == first_line
            yield process
        finally:
            process.kill()


def converting(
    source: str, target: Path, *prefix: str, code: str = IN_THE_MIDDLE
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """One that holds still."""
    return started(code, "it is under way", source, target, *prefix)


@contextlib.contextmanager
def waiting(source: str, target: Path) -> Iterator[subprocess.Popen[str]]:
    """One that has found another at work."""
    command = [str(COMMAND), "convert", source, str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stderr is not None
            told = process.stderr.readline()
            assert told == f"another process converts into {target}: waiting until it has ended\n"
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def leftovers(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{target.name}.*.unfinished"))


def may_unshare() -> bool:
    with contextlib.suppress(OSError):
        done = subprocess.run([*AS_PROCESS_1, "true"], capture_output=True, timeout=60, check=False)
        return done.returncode == 0
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_everything_as_it_was(
    source: str, target: Path, number: signal.Signals
) -> None:
    convert(source, target)
    before = everything(target)
    with converting(source, target) as process:
        (work,) = leftovers(target)
        assert (work / "config.json").exists()
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert told == f"altclip-server: ended by {number.name}\n"
    assert names(target.parent) == ["converted"]
    assert everything(target) == before


def test_as_process_1_of_a_container_sigterm_ends_it_as_well(source: str, target: Path) -> None:
    if not may_unshare():
        pytest.skip("may not make a process namespace here")
    with converting(source, target, *AS_PROCESS_1) as process:
        (inside,) = psutil.Process(process.pid).children()
        assert leftovers(target)
        inside.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert names(target.parent) == []


def test_a_download_under_way_is_not_waited_for(target: Path) -> None:
    with started(SOON + FETCHING, "a file is fetched", "BAAI/AltCLIP", target) as process:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert not target.exists()


def test_what_a_killed_one_has_left_is_removed_by_the_next(source: str, target: Path) -> None:
    with converting(source, target, code=NEAR_THE_END) as process:
        process.kill()
        process.wait(PATIENCE)
    assert process.returncode == -signal.SIGKILL
    (work,) = leftovers(target)
    assert (work / "model.safetensors").stat().st_size > 0
    convert(source, target)
    assert names(target.parent) == ["converted"]


def test_what_a_running_one_writes_is_left_alone_and_others_wait_for_it(
    source: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    monkeypatch.setattr(workspace.log, "warning", lambda *_: waits.set())
    with ThreadPoolExecutor(1) as pool, converting(source, target) as running:
        (work,) = leftovers(target)
        with waiting(source, target) as given_up:
            given_up.terminate()
            assert given_up.wait(PATIENCE) == 128 + signal.SIGTERM
        second = pool.submit(convert, source, target)
        assert waits.wait(PATIENCE)
        assert leftovers(target) == [work]
        assert (work / "config.json").exists()
        _, told = running.communicate("\n", timeout=PATIENCE)
        assert (running.returncode, told) == (0, "")
        assert second.result(PATIENCE) == target
    assert names(target.parent) == ["converted"]
