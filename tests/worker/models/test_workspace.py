"""One conversion at a time writes into a directory; what was left by those that were killed is removed, and
nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server import PATIENCE, until
from worker.errors import ModelError
from worker.models import convert as conversion
from worker.models import workspace
from worker.models.convert import convert


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


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
