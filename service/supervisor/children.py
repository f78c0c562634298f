"""Starts child processes, reads their messages and reaps them. Knows nothing of what a child does.

A child is spawned, never forked: it begins as a fresh interpreter, which inherits its end of the control
channel and nothing else. One SIGCHLD handler reaps all children. As process 1 of a container the supervisor
also reaps orphans: processes that others started and left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from service.supervisor.pages import Page
from worker.runtime import logs
from worker.runtime.control import Channel, Message

__all__ = ["Child", "Nursery"]

_events = logs.get("children")

# A process that has closed its channel is about to end. One that has not ended after so long is killed.
_LAST_SECONDS = 5.0

# Libraries send no telemetry, download nothing (the supervisor has fetched every file), and write nothing to
# standard error that is not a JSON line.
_ENVIRONMENT = {
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "GRPC_VERBOSITY": "NONE",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    # torch's threads wait for each other many times a batch. By default they spin, and where others want the
    # cores that spin (two busy neighbours on two cores are enough), a batch takes a hundred times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


class Child:
    """One running process. `page` holds its metrics; it is the owner's to retire once `wait` has returned."""

    def __init__(self, module: str, title: str, page: Page, receive: Callable[[Message], None]) -> None:
        """receive: called on the loop for each message; closes its descriptors afterwards. Raises OSError."""
        self.title = title
        self.page = page
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._channel, theirs = Channel.pair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    cwd="/",  # ours may be removed or replaced while we run
                    env={**_ENVIRONMENT, **os.environ},
                )
        except OSError:
            self._channel.close()
            raise
        self._loop.add_reader(self._channel.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Not reaped yet."""
        return not self._exit.done()

    def send(self, message: str, body: dict[str, Any] | None = None, descriptors: Sequence[int] = ()) -> None:
        """Never blocks and never raises. A child that does not get a message (it reads none, or there is no
        room for one of this size) is killed; one that has ended will be reaped."""
        if not self.alive:
            return
        try:
            self._channel.send(message, body, descriptors)
        except ConnectionError:
            pass
        except OSError as error:
            reads_none = isinstance(error, BlockingIOError)
            told = "the process reads no control messages" if reads_none else f"{message}: {error.strerror}"
            _events.error("child_deaf", told, title=self.title, pid=self.pid)
            self.kill()

    def kill(self) -> None:
        """SIGKILL, which also ends a stopped process. Safe at any time before it was reaped."""
        if self._process.returncode is None:
            self._process.kill()

    def end_soon(self) -> None:
        """It has said that it will end: it is killed if it has not after some seconds."""
        self._loop.call_later(_LAST_SECONDS, self.kill)

    async def wait(self) -> int:
        """Its exit status once it was reaped, negative for a signal."""
        return await asyncio.shield(self._exit)

    def reap(self) -> bool:
        """Whether it has ended; called by the nursery."""
        status = self._process.poll()
        if status is None:
            return False
        if not self._exit.done():
            self._drain_channel()
            self._exit.set_result(status)
        return True

    def _readable(self) -> None:
        if not self._read_one():
            self._loop.remove_reader(self._channel.fileno())
            self.end_soon()

    def _drain_channel(self) -> None:
        """Reads what it sent before it ended, such as why it failed."""
        self._loop.remove_reader(self._channel.fileno())
        while self._read_one():
            pass
        self._channel.close()

    def _read_one(self) -> bool:
        """False at the end of the channel. The channel of a process that has ended always ends."""
        try:
            message = self._channel.receive(wait=False)
        except BlockingIOError:  # only if it gave its end away
            return self._process.returncode is None
        except ValueError as error:  # no whole message
            _events.error("message_failed", title=self.title, error=error)
            return True
        if message is None:
            return False
        try:
            self._receive(message)
        except (
            Exception
        ) as error:  # one message that is not understood must not keep a child from being reaped
            _events.error("message_failed", title=self.title, type=message.type, error=error)
        finally:
            for descriptor in message.descriptors:
                os.close(descriptor)
        return True


class Nursery:
    """All living children, and the handler that notices their end."""

    def __init__(self) -> None:
        self._living: list[Child] = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, module: str, title: str, page: Page, receive: Callable[[Message], None]) -> Child:
        """A new child."""
        child = Child(module, title, page, receive)
        self._living.append(child)
        _events.info("child_started", title=title, pid=child.pid)
        return child

    def _reap(self) -> None:
        self._living = [child for child in self._living if not child.reap()]
        if os.getpid() == 1:
            self._reap_orphans()

    def _reap_orphans(self) -> None:
        ours = {child.pid for child in self._living}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in ours:  # it ended just now: another SIGCHLD is pending
                return
            os.waitpid(ended.si_pid, 0)
