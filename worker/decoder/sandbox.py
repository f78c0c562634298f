"""The sandbox that a process closes around itself before it reads untrusted bytes. Standard library; Linux.

    limits          so much more memory and no more; no new descriptor, file, process or core file
    no_new_privs    a program that it could execute would have no more rights than it has
    seccomp         system calls: memory, the sockets that are open, the end. All others fail with EPERM

The calls on the list reach neither files nor the network nor other processes. A library must load all that
it needs before: afterwards no file can be opened. A codec that cannot work without threads gets them: a
thread is under the same filter and the same limits.
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
# What a new thread asks for, beside `clone`.
_ALLOWED_TO_THREADS = {"set_robust_list": (273, 99), "rseq": (334, 293), "sched_getaffinity": (204, 123)}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_CLONE_THREAD = 0x10000

# Classic BPF (linux/bpf_common.h) over struct seccomp_data: nr, arch, instruction pointer, six arguments.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32
_ALLOW, _DENY, _KILL = 0x7FFF_0000, 0x0005_0000 | 1, 0x8000_0000  # 1 is EPERM
_UNKNOWN = 0x0005_0000 | 38  # ENOSYS

Instruction = tuple[int, int, int, int]
"""Operation, steps to skip if true, steps to skip if not, operand."""


def shut(memory_bytes: int, *, threads: bool = False) -> str:
    """From now on this process may only compute, and take `memory_bytes` more than it has.

    threads: it may start threads. Returns "" or, where the kernel knows no filters, why there is none; the
    rest then still holds. Call it with one thread: others would not be filtered.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)
    _limit(resource.RLIMIT_CORE, 1)  # with 0 the kernel may still give a core to a program (core(5))
    for kind in (
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_MEMLOCK,
    ):
        _limit(kind, 0)
    if not threads:  # the limit counts threads, and those of all processes of this user
        _limit(resource.RLIMIT_NPROC, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    machine = platform.machine()
    if machine not in _ARCHITECTURES or struct.calcsize("P") != 8:
        return f"no list of system calls for {machine}"
    steps = program(machine, os.getpid(), threads=threads)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head), 0, 0) != 0:
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return ""


def program(machine: str, own_pid: int, *, threads: bool = False) -> list[Instruction]:
    """The filter. A call of another architecture's numbering ends the process."""
    column = list(_ARCHITECTURES).index(machine)
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    allowed = {**_ALLOWED, **_ALLOWED_TO_THREADS} if threads else _ALLOWED
    for numbers in allowed.values():
        steps += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    if threads:
        steps += [  # a thread, and no process; clone3 keeps its flags where no filter sees them
            (_EQUAL, 0, 1, _CLONE3[column]),
            (_RETURN, 0, 0, _UNKNOWN),
            (_EQUAL, 0, 4, _CLONE[column]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_ANY_BIT, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _DENY),
        ]
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
