"""Memory that is freed is used again, without a visit to the kernel for each of its pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PIECES = """
import resource, sys
import numpy as np
from worker.families.altclip.allocator import keep_freed

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def batch():
    pieces = [np.full(size << 20, 1, np.uint8) for size in (3, 20, 8)]
    return sum(len(piece) for piece in pieces)

if sys.argv[1] == "kept":
    keep_freed()
batch()
before = faults()
for _ in range(8):
    batch()
print(faults() - before)
"""


def faults_of(how: str) -> int:
    """Pages that eight rounds of the same pieces had to be given, after a first one."""
    command = [sys.executable, "-c", PIECES, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_what_was_freed_is_used_again() -> None:
    pages = 8 * (31 << 20) // 4096
    assert faults_of("kept") < pages / 100 < faults_of("given back")
