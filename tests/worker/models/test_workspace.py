"""A conversion that is ended leaves nothing, one that is killed leaves what the next one removes, and two
into one directory do not disturb each other."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.server import COMMAND, PATIENCE, until
from worker.errors import ModelError
from worker.models import convert as conversion
from worker.models import workspace
from worker.models.convert import convert

Checkpoints = Callable[..., Path]

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
cli.CLEANUP_SECONDS = 0.1
sys.exit(cli.main())
"""
"""The command with a hub that never answers. The library, too, fetches in threads and waits for them."""
AS_PROCESS_1 = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def source(checkpoints: Checkpoints) -> str:
    return str(checkpoints(size="tiny"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "converted"


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
    command = [COMMAND, "convert", source, str(target)]
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
    with started(FETCHING, "a file is fetched", "BAAI/AltCLIP", target) as process:
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


def test_it_is_removed_before_anything_is_fetched(
    target: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target.parent / ".converted.abcdefgh.unfinished").mkdir()
    seen: list[list[str]] = []

    def download(name: str, *, pickles: bool) -> tuple[Path, str]:
        seen.append(names(target.parent))
        return Path(source), "c0ffee"

    monkeypatch.setattr(conversion, "download", download)
    convert("BAAI/AltCLIP", target)
    assert seen == [[".converted.lock"]]
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


def test_of_two_that_keep_a_pinned_model_one_converts_and_the_other_takes_it(
    source: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = "BAAI/AltCLIP@" + "a" * 40
    waits = threading.Event()
    written: list[Path] = []
    write = conversion._write

    def slowly(origin: Path, work: Path, dtype: str | None) -> list[str]:
        written.append(work)
        assert waits.wait(PATIENCE)
        return write(origin, work, dtype)

    monkeypatch.setattr(conversion, "download", lambda name, *, pickles: (Path(source), "a" * 40))
    monkeypatch.setattr(conversion, "_write", slowly)
    monkeypatch.setattr(workspace.log, "warning", lambda *_: waits.set())
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(convert, pinned, target, keep=True) for _ in range(2)]
        assert [each.result(PATIENCE) for each in both] == [target, target]
    assert len(written) == 1
    assert names(target.parent) == ["converted"]


def test_a_conversion_that_was_moved_aside_when_the_process_was_killed_is_put_back(
    source: str, target: Path
) -> None:
    before = everything(convert(source, target))
    target.rename(target.parent / ".converted.abcdefgh.replaced")
    (target.parent / ".converted.hgfedcba.unfinished").mkdir()
    broken = target.parent / "broken"
    broken.mkdir()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        convert(str(broken), target)
    assert names(target.parent) == ["broken", "converted"]
    assert everything(target) == before


def test_nothing_else_is_removed(source: str, target: Path, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    others = [
        ".other.abcdefgh.unfinished",  # of a conversion into another directory
        ".converted.x.abcdefgh.unfinished",
        "converted.abcdefgh.unfinished",
        ".converted.unfinished",
        ".converted.abcdefgh",
        ".converted.abcdefghi.unfinished",
        ".Converted.abcdefgh.replaced",
    ]
    for name in others:
        (target.parent / name).mkdir()
    (target.parent / ".converted.file0000.unfinished").write_text("a file")
    (target.parent / ".converted.link0000.unfinished").symlink_to(elsewhere)
    before = names(target.parent)
    convert(source, target)
    assert names(target.parent) == sorted([*before, "converted"])
    assert (elsewhere / "thesis.txt").read_text() == "years of work"


def test_where_a_file_system_knows_no_locks_nothing_is_removed(
    source: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target.parent / ".converted.abcdefgh.unfinished").mkdir()

    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    convert(source, target)
    assert names(target.parent) == [".converted.abcdefgh.unfinished", "converted"]


def test_the_lock_is_one_that_the_next_can_take(target: Path) -> None:
    """The file goes with its holder: who waited for it must not hold a file that is in no directory."""
    lock, inside, wrong = target.with_name(".converted.lock"), threading.Lock(), []

    def take(_: int) -> None:
        for _ in range(50):
            with workspace.reserved(target):
                if not inside.acquire(blocking=False):
                    wrong.append("two at once")
                    continue
                if not lock.exists():
                    wrong.append("no file")
                inside.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert wrong == []
    assert not lock.exists()


def test_an_earlier_conversion_is_where_it_was_when_it_cannot_be_replaced(tmp_path: Path) -> None:
    target, work = tmp_path / "converted", tmp_path / "missing"
    target.mkdir()
    (target / "manifest.json").write_text("{}")
    with pytest.raises(FileNotFoundError):
        workspace.put_in_place(work, target)
    assert names(tmp_path) == ["converted"]
    assert everything(target) == {"manifest.json": b"{}"}


def test_the_wait_for_a_lock_is_told_once(target: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken = threading.Event()

    def take() -> None:
        with workspace.reserved(target):
            taken.set()

    with ThreadPoolExecutor(1) as pool:
        with workspace.reserved(target):
            waiting = pool.submit(take)
            until(lambda: caplog.records, what="it tells that it waits")
            assert not taken.is_set()
        waiting.result(PATIENCE)
    assert [record.getMessage() for record in caplog.records] == [
        f"another process converts into {target}: waiting until it has ended"
    ]
