"""The control channel: whole messages, descriptors beside them, and an end that is noticed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from tests.worker.runtime.descriptors import no_descriptors_left
from worker.runtime.control import Channel, describe_status


def test_a_message_arrives_whole_with_its_descriptors() -> None:
    ours, theirs = Channel.pair()
    peer = Channel(theirs)
    reading, writing = os.pipe()
    ours.send("link", {"frontend": 3}, [writing])
    os.close(writing)
    message = peer.receive()
    assert message is not None
    assert (message.type, message.body) == ("link", {"frontend": 3})
    (received,) = message.descriptors
    assert not os.get_inheritable(received)
    os.write(received, b"x")
    assert os.read(reading, 1) == b"x"
    for descriptor in (reading, received):
        os.close(descriptor)
    ours.close()
    peer.close()


def test_a_message_whose_descriptors_this_process_cannot_have_is_an_error() -> None:
    ours, theirs = Channel.pair()
    peer = Channel(theirs)
    ours.send("link", {"frontend": 3}, [ours.fileno()])
    ours.send("drain")
    with no_descriptors_left(), pytest.raises(OSError, match="Too many open files"):
        peer.receive()
    message = peer.receive()
    assert message is not None
    assert message.type == "drain"
    ours.close()
    peer.close()


def test_messages_keep_their_borders_and_their_order() -> None:
    ours, theirs = Channel.pair()
    peer = Channel(theirs)
    for number in range(3):
        ours.send("worker_gone", {"id": number})
    received = [peer.receive() for _ in range(3)]
    assert [message.body["id"] for message in received if message] == [0, 1, 2]
    ours.close()
    peer.close()


def test_receiving_does_not_wait_when_told_so() -> None:
    ours, theirs = Channel.pair()
    with theirs, pytest.raises(BlockingIOError):
        ours.receive(wait=False)
    ours.close()


def test_sending_never_waits_for_a_peer_that_reads_nothing() -> None:
    ours, theirs = Channel.pair()

    def send_forever() -> None:
        while True:
            ours.send("weights", {"sha256": "0" * 64})

    with theirs, pytest.raises(BlockingIOError):
        send_forever()
    ours.close()


def test_the_end_of_the_peer_reads_as_none() -> None:
    ours, theirs = Channel.pair()
    theirs.close()
    assert ours.receive() is None
    ours.close()


PARENT = """
import subprocess, sys
from worker.runtime.control import Channel
channel, theirs = Channel.pair()
command = [sys.executable, "-P", "-c", sys.argv[1], str(theirs.fileno())]
child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
theirs.close()
channel.receive()
print(child.pid, flush=True)
sys.stdin.read()
"""
CHILD = """
import signal, sys, time
from worker.runtime.control import adopt
channel = adopt(int(sys.argv[1]), "altclip-test")
channel.send("listening")
time.sleep(300)  # reads no EOF: only the kernel's signal ends it
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_dies_with_its_parent_even_if_it_is_stopped(stopped: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        descriptor = os.pidfd_open(child)
        if stopped:
            signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
        parent.kill()
        assert select.select([descriptor], [], [], 60.0)[0], "the child outlived its parent"
        os.close(descriptor)


def test_a_crash_in_native_code_tells_its_stack() -> None:
    crash = (
        "import ctypes, resource, sys\nfrom worker.runtime.control import adopt\n"
        "channel = adopt(int(sys.argv[1]), 'altclip-test')\n"
        # One byte: with none the kernel could still give a core to a program that keeps it.
        "soft, hard = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "assert soft == 1 or soft == hard == 0\n"
        "def broken(): ctypes.string_at(0)\nbroken()\n"
    )
    channel, theirs = Channel.pair()
    with theirs:
        command = [sys.executable, "-P", "-c", crash, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    said = ""
    while (message := channel.receive()) is not None:
        assert message.type == "crash"
        said += message.body["text"]
    assert process.wait(60) == -signal.SIGSEGV
    assert "broken" in said
    channel.close()


def test_a_status_reads_as_people_say_it() -> None:
    assert describe_status(1) == "exit 1"
    assert describe_status(-9) == "SIGKILL"
    assert describe_status(-63) == "signal 63"
