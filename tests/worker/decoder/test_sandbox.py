"""What a process can still do once it is shut in: each try in a process of its own."""

from __future__ import annotations

import functools
import resource
import subprocess
import sys

import pytest

from worker.decoder.sandbox import program

TRIES = {
    "open a file": "open('/etc/hostname')",
    "write a file": "open('/tmp/altclip-sandbox', 'w')",
    "list a folder": "os.listdir('/')",
    "make a socket": "socket.socket()",
    "start a process": "os.posix_spawn('/bin/true', ['true'], {})",
    "fork": "os.fork()",
    "start a thread": "threading.Thread(target=print).start()",
    "signal its parent": "os.kill(os.getppid_, 0)",
    "run other code": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "copy a descriptor": "os.dup(1)",
    "take more memory": "bytearray(200 << 20)",
    "lift its limit": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
}


def run(code: str, *, threads: bool = False) -> subprocess.CompletedProcess[str]:
    prelude = "import mmap, os, resource, socket, threading; from worker.decoder.sandbox import shut\n"
    prelude += f"os.getppid_ = os.getppid(); filter = shut(128 << 20, threads={threads})\n"
    return subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=60)


@functools.cache
def filtered() -> bool:
    return run("os.write(1, filter.encode())").stdout == ""


@pytest.mark.parametrize(
    ("name", "threads"),
    [(name, threads) for name in TRIES for threads in (False, True) if not threads or "thread" not in name],
)
def test_it_cannot(name: str, threads: bool) -> None:
    if not filtered() and "memory" not in name:
        pytest.skip("this kernel does not filter system calls")
    done = run(
        f"try: {TRIES[name]}\nexcept Exception as error: os.write(1, type(error).__name__.encode())",
        threads=threads,
    )
    expected = {"PermissionError", "MemoryError", "RuntimeError", "ValueError"}
    assert done.stdout in expected, done.stderr[-300:]


def test_it_can_compute_take_memory_and_end_as_it_likes() -> None:
    code = "x = bytearray(40 << 20); del x; os.write(1, str(sum(range(10**6))).encode()); os._exit(7)"
    done = run(code)
    assert (done.stdout, done.returncode) == ("499999500000", 7)
    assert run("os.abort()").returncode == -6


def test_without_a_filter_the_limits_hold_and_it_is_told() -> None:
    code = "import os, platform; from worker.decoder.sandbox import shut\n"
    code += "platform.machine = lambda: 'riscv64'\n"
    code += "print(shut(64 << 20))\ntry: bytearray(200 << 20)\nexcept MemoryError: print('no memory')\n"
    code += "try: os.dup(1)\nexcept OSError: print('no descriptor')\n"
    code += "import resource\nprint('a core of', resource.getrlimit(resource.RLIMIT_CORE)[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "no list of system calls for riscv64",
        "no memory",
        "no descriptor",
        # Of none the kernel would still make one for a program that keeps it.
        f"a core of {0 if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else 1}",
    ], done.stderr


def test_a_thread_that_it_may_start_is_in_the_same_sandbox() -> None:
    if not filtered():
        pytest.skip("this kernel does not filter system calls")
    code = (
        "def work():\n    os.write(1, b'here')\n    try: open('/etc/hostname')\n"
        "    except PermissionError: os.write(1, b' and shut in')\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    )
    assert run(code, threads=True).stdout == "here and shut in"


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_way_through_the_filter_ends_in_a_verdict(machine: str, threads: bool) -> None:
    steps = program(machine, 1, threads=threads)
    for index, (operation, if_true, if_not, _) in enumerate(steps):
        assert operation == 0x06 or index + 1 + max(if_true, if_not) < len(steps)
    assert steps[-1][0] == 0x06
    assert len(steps) < 4096
