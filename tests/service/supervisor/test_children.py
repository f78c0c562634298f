"""Child processes on the supervisor's loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.supervisor import children
from service.supervisor.children import Child, Nursery
from service.supervisor.pages import Pages
from worker.runtime.control import Message
from worker.runtime.metric_labels import Layout

Start = Callable[[str], Child]


Heard = asyncio.Queue[Message]


@pytest.fixture
def heard() -> Heard:
    """The messages of all children of a test."""
    return asyncio.Queue()


@pytest.fixture
async def start(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a child that plays a part; ends them all."""
    nursery = Nursery()
    pages = Pages(Layout(models=("m",), devices=("cpu",)))
    started: list[Child] = []
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))

    def start_one(play: str) -> Child:
        monkeypatch.setenv("PLAY", play)
        page = pages.add("test")
        child = nursery.start(
            "tests.service.supervisor.playing_child", "altclip-test", page, heard.put_nowait
        )
        started.append(child)
        return child

    yield start_one
    for child in started:
        child.kill()
        await asyncio.wait_for(child.wait(), 60)
        pages.retire(child.page)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)


def open_files(pid: int, *descriptors: int) -> set[str]:
    """What a process has open, or what these descriptors of it are."""
    entries = [Path(f"/proc/{pid}/fd/{number}") for number in descriptors] or Path(
        f"/proc/{pid}/fd"
    ).iterdir()
    return {str(entry.readlink()) for entry in entries}


async def test_what_a_child_said_before_it_ended_is_heard(start: Start, heard: Heard) -> None:
    child = start("last words")
    assert await asyncio.wait_for(child.wait(), 60) == 3
    message = heard.get_nowait()
    assert (message.type, message.body) == ("failed", {"reason": "because"})
    assert not child.alive


async def test_a_message_that_nobody_understands_keeps_no_child_from_being_reaped(
    start: Start, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "put_nowait", lambda message: 1 / 0)
    child = start("last words")
    assert await asyncio.wait_for(child.wait(), 60) == 3


async def test_what_is_no_message_keeps_no_child_from_being_reaped(start: Start, heard: Heard) -> None:
    child = start("garbage")
    assert await asyncio.wait_for(child.wait(), 60) == 3
    assert heard.get_nowait().body == {"reason": "because"}
    assert heard.empty()


async def test_messages_and_descriptors_go_both_ways(start: Start, heard: Heard) -> None:
    child = start("echo")
    child.send("config", {"index": 1}, [0, 1])
    message = await asyncio.wait_for(heard.get(), 60)
    assert message.body == {"type_": "config", "descriptors": 2}


async def test_a_child_inherits_nothing_but_its_channel(start: Start, heard: Heard) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    child = start("echo")
    child.send("anything")
    await asyncio.wait_for(heard.get(), 60)
    named = open_files(child.pid)
    assert sum(name.startswith("socket:") for name in named) == 1
    assert not {name for name in named if name.startswith("pipe:")} - open_files(os.getpid(), 0, 1, 2)
    os.close(reading)
    os.close(writing)


async def test_a_child_that_reads_nothing_is_killed(start: Start, heard: Heard) -> None:
    child = start("deaf")
    await asyncio.wait_for(heard.get(), 60)
    while child.alive:
        for _ in range(200):
            child.send("weights", {"sha256": "0" * 64})
        await asyncio.sleep(0)
    assert await child.wait() == -signal.SIGKILL
    child.send("drain")  # No error: it is gone.


async def test_a_child_that_cannot_get_a_message_is_killed(start: Start, heard: Heard) -> None:
    """As without what it was to be told it would do something else."""
    child = start("echo")
    child.send("config", {"text": "x" * (16 << 20)})
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL


async def test_a_child_that_closed_its_channel_and_does_not_end_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_LAST_SECONDS", 0.2)
    child = start("mute")
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL


async def test_a_child_that_said_it_will_end_and_does_not_is_killed(
    start: Start, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_LAST_SECONDS", 0.2)
    child = start("deaf")
    await asyncio.wait_for(heard.get(), 60)
    child.end_soon()
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
