"""Files that change: replaced, rewritten, swapped as Kubernetes does it, damaged, taken away."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.supervisor.reloading import Reloading
from worker.runtime.metrics import Metrics


def load(parts: Sequence[bytes]) -> str:
    if b"bad" in parts[0]:
        raise ValueError("it is bad")
    return parts[0].decode()


class File:
    """A watched file, and what a look at it does."""

    def __init__(self, path: Path, content: str = "one") -> None:
        self.path = path
        if not path.exists():
            path.write_text(content)
        self.metrics = Metrics.local()
        self.watched = Reloading("api_keys", [path], load)

    def look(self) -> bool:
        return self.watched.take(self.watched.look(), self.metrics)

    def write(self, content: str) -> None:
        """As `mv` does: at once."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(content)
        fresh.rename(self.path)

    def seen(self) -> tuple[float, float, float]:
        metrics = self.metrics
        return (
            metrics.reloads.value("api_keys"),
            metrics.reload_failures.value("api_keys"),
            metrics.reload_stale.value("api_keys"),
        )


def test_a_replaced_file_is_read(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    assert not file.look()
    file.write("two")
    assert file.look()
    assert file.watched.value == "two"
    assert file.seen() == (1, 0, 0)
    assert not file.look()


def test_a_swapped_symbolic_link_is_followed(tmp_path: Path) -> None:
    """`keys -> ..data/keys` and `..data -> ..TIME`; then another `..data` is renamed over it."""
    for name, content in (("..1", "one"), ("..2", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys").symlink_to("..data/keys")
    file = File(tmp_path / "keys")
    (tmp_path / "..fresh").symlink_to("..2")
    (tmp_path / "..fresh").rename(tmp_path / "..data")
    assert file.look()
    assert file.watched.value == "two"


@pytest.mark.parametrize("damage", ["bad", None])
def test_a_damaged_or_missing_file_leaves_what_was_good_and_is_told_once(
    tmp_path: Path, damage: str | None
) -> None:
    file = File(tmp_path / "keys")
    file.write(damage) if damage else file.path.unlink()
    assert not file.look()
    assert file.seen() == (0, 0, 0), "it may be half written: it gets a second look"
    for _ in range(3):
        assert not file.look()
    assert file.watched.value == "one"
    assert file.seen() == (0, 1, 1)
    file.write("two")
    assert file.look()
    assert file.seen() == (1, 1, 0)


def test_at_the_start_it_must_be_good(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is bad"):
        File(tmp_path / "keys", "bad")
    with pytest.raises(FileNotFoundError):
        Reloading("api_keys", [tmp_path / "none"], load)


async def test_it_is_watched_until_cancelled(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    changes: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(file.watched.watch(file.metrics, changes.put_nowait, interval=0.01))
    file.write("two")
    assert await asyncio.wait_for(changes.get(), 60) == "two"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_value_that_could_not_be_passed_on_is_passed_on_later(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    told: list[str] = []
    passed_on = asyncio.Event()

    def changed(value: str) -> None:
        told.append(value)
        if len(told) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        passed_on.set()

    task = asyncio.create_task(file.watched.watch(file.metrics, changed, interval=0.01))
    file.write("two")
    await asyncio.wait_for(passed_on.wait(), 60)
    assert told == ["two"] * 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
