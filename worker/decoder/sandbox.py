"""Shuts a process in before it reads what a stranger sent. Standard library only; Linux.

    limits          so much more memory and no more; no new descriptor, file, process or core file
    no_new_privs    nothing it could execute would have more rights than it has
    seccomp         system calls: memory, talking over the sockets it has, ending. All others fail with EPERM

What is on the list reaches neither files nor the network nor other processes. Whatever a library loads on
first use has to be loaded before: afterwards no file can be opened.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path

__all__ = ["program", "shut"]

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# Of each architecture: its name for the kernel (linux/audit.h), and the numbers of the calls (asm/unistd.h).
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOWED = {
    # The way in and out, and what faulthandler writes.
    "recvmsg": (47, 212),
    "sendmsg": (46, 211),
    "write": (1, 64),
    "close": (3, 57),
    # Memory; `mmap` and `mprotect` are below.
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    # Locks, time and chance, of which Python takes a little.
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "restart_syscall": (219, 128),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    # A crash is told, and ends it.
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_MMAP, _MPROTECT, _TGKILL = (9, 222), (10, 226), (234, 131)
_PROT_EXEC = 4

# Classic BPF (linux/bpf_common.h) over struct seccomp_data: nr, arch, instruction pointer, six arguments.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32
_ALLOW, _DENY, _KILL = 0x7FFF_0000, 0x0005_0000 | 1, 0x8000_0000  # 1 is EPERM

Instruction = tuple[int, int, int, int]
"""Operation, steps to skip if true, steps to skip if not, operand."""


def shut(memory_bytes: int) -> str:
    """From now on this process may only compute, and take `memory_bytes` more than it has.

    Returns "" or, where the kernel knows no filters, why there is none; the rest then still holds. Call it
    with one thread: others would not be filtered.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)
    for kind in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_MEMLOCK,
    ):
        _limit(kind, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    machine = platform.machine()
    if machine not in _ARCHITECTURES or struct.calcsize("P") != 8:
        return f"no list of system calls for {machine}"
    steps = program(machine, os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head), 0, 0) != 0:
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return ""


def program(machine: str, own_pid: int) -> list[Instruction]:
    """The filter. A call of another architecture's numbering ends the process."""
    column = list(_ARCHITECTURES).index(machine)
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers in _ALLOWED.values():
        steps += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    for numbers in (_MMAP, _MPROTECT):  # no memory that can be run
        steps += [
            (_EQUAL, 0, 4, numbers[column]),
            (_LOAD, 0, 0, _THIRD_ARGUMENT),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _DENY),
            (_RETURN, 0, 0, _ALLOW),
        ]
    steps += [  # abort() signals itself; nobody else
        (_EQUAL, 0, 3, _TGKILL[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, own_pid),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return steps


def _limit(kind: int, most: int) -> None:
    """Lowers a limit for good; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))
