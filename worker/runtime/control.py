"""The control channel between the supervisor and each child. Standard library only, and setproctitle.

    supervisor → worker     config {model, device, dtype, threads, kernels, known_kernels, weights_known,
                            batching, metrics, log_level, number} + page
                            link {frontend} + socket, drain
    worker → supervisor     ready {info, budgets}
    supervisor → frontend   config {index, settings, models, metrics} + page, + all pages' totals
                            file {name, size} + memory (all there are before begin, later those that changed)
                            begin
                            worker {id, number, model, device, info} + socket, worker_gone {id},
                            weights {model, sha256}, drain {grace}
    frontend → supervisor   listening {grpc, http}, drained
    both → supervisor       failed {reason}: it can never work; failing {reason}: this time it could not start
                            weights {model, sha256}: those that it found, before ready or listening if it can

A child that crashes in native code writes its stack into the same channel. What is no message is delivered
as `crash` {text}, in pieces.

Each packet is one JSON object, whose `type` names it; descriptors are sent with it. The channel is a
SOCK_SEQPACKET socket pair, of which the child inherits one end. A child that reads EOF has lost its
supervisor and leaves.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import json
import os
import resource
import select
import signal
import socket
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import setproctitle

__all__ = ["Channel", "Message", "adopt", "describe_status", "entitle", "leave", "leave_no_core", "starting"]

_MAX_PACKET = 1 << 20
_RIGHTS_BYTES = socket.CMSG_SPACE(8 * array("i").itemsize)
_PR_SET_PDEATHSIG = 1
_FOR_THE_SUPERVISOR = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_MESSAGE_START = b'{"type":'


class Message(NamedTuple):
    """One packet. The receiver owns the descriptors and closes them."""

    type: str
    body: dict[str, Any]
    descriptors: list[int]


class Channel:
    """One end of the pair. Whole messages only; not safe for two senders or two receivers at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Our end, and the socket to hand to a child."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_PACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        """For selectors and `loop.add_reader`."""
        return self._socket.fileno()

    def send(self, message: str, body: dict[str, Any] | None = None, descriptors: Sequence[int] = ()) -> None:
        """Never blocks. BlockingIOError: the peer reads nothing; other OSErrors: it is gone."""
        packet = json.dumps({"type": message, **(body or {})}, separators=(",", ":")).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        self._socket.sendmsg([packet], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def receive(self, *, wait: bool = True, descriptors: bool = True) -> Message | None:
        """The next message; None at the end. With `wait=False` BlockingIOError when there is none now.

        descriptors: False lets the kernel drop them, as from a peer that is not trusted. Raises OSError where
        this process may open none for those of the message, which is lost.
        """
        room = _RIGHTS_BYTES if descriptors else 0
        flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            # Not socket.recv_fds, which drops its flags.
            packet, rights, told, _ = self._socket.recvmsg(_MAX_PACKET, room, flags)
        except (ConnectionError, TimeoutError):
            return None
        if not packet:
            return None
        if not packet.startswith(_MESSAGE_START):
            return Message("crash", {"text": packet.decode("utf-8", "replace")}, [])
        given = array("i")
        for level, kind, data in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                given.frombytes(data[: len(data) - len(data) % given.itemsize])
        if descriptors and told & socket.MSG_CTRUNC:
            for descriptor in given:
                os.close(descriptor)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        body = json.loads(packet)
        return Message(body.pop("type"), body, list(given))

    def close(self) -> None:
        """The peer reads EOF."""
        self._socket.close()


def describe_status(status: int) -> str:
    """How a process ended, from its exit status (a signal is negative): `exit 1` or `SIGKILL`."""
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def entitle(title: str) -> None:
    """This process's name in the process list."""
    setproctitle.setproctitle(title)


def adopt(descriptor: int, title: str) -> Channel:
    """First thing in a child: a name in the process list, death with its parent, its end of the channel.

    Signals that a terminal or a process manager sends to the whole process group are the supervisor's to act
    on: a child ends when the channel does.
    """
    for number in _FOR_THE_SUPERVISOR:
        signal.signal(number, signal.SIG_IGN)
    entitle(title)
    # EOF on the channel tells a running child; the kernel's signal reaches one that hangs, loads or is
    # stopped.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    poll = select.poll()
    poll.register(end, 0)
    if any(events & select.POLLHUP for _, events in poll.poll(0)):  # it died before the line above
        leave()
    leave_no_core()  # where a crash was is told through the channel instead
    faulthandler.enable(descriptor)
    return Channel(end)


def leave_no_core() -> None:
    """A crash of this process leaves no core, which would hold what callers sent, or the server's keys.

    The limit is one byte. With zero the kernel writes no file, but still gives the core to a program, where
    it is told to: most systems have one that keeps it (core(5)). With one it does neither.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most != 0 else 0, most))


@contextmanager
def starting(channel: Channel, *lasting: type[Exception]) -> Iterator[None]:
    """Tells the supervisor why this process cannot start, so that its last line says it.

    lasting: exceptions that would be the same the next time, beside a module that cannot be imported; the
    process leaves. Any other is raised: the process ends by it, and is replaced. No call has come yet, so the
    messages of exceptions quote none.
    """
    never: tuple[type[Exception], ...] = (ImportError, *lasting)
    try:
        yield
    except never as error:
        channel.send("failed", {"reason": _first_line(error)})
        leave()
    except Exception as error:
        channel.send("failing", {"reason": f"{type(error).__name__}: {_first_line(error)}"})
        raise


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def leave(status: int = 1) -> NoReturn:
    """Ends this process at once, without clean-up."""
    os._exit(status)
