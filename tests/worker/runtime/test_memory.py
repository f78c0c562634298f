"""Shared memory without a name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from worker.runtime import memory


def test_what_one_writes_the_other_reads() -> None:
    descriptor = memory.create("test", 64)
    one, other = memory.attach(descriptor), memory.attach(descriptor)
    os.close(descriptor)
    one[7] = 5
    assert other[7] == 5
    assert len(other) == 64


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd_create here")
@pytest.mark.parametrize("size", [0, 1 << 20])
def test_nobody_can_resize_it(size: int) -> None:
    descriptor = memory.create("test", 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, size)
    os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd_create here")
def test_memory_that_cannot_be_had_leaves_no_descriptor() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        memory.create("test-no-size", -1)
    held = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of another thread, which has closed it
            held.append(str(path.readlink()))
    assert held
    assert not any("test-no-size" in name for name in held)


def test_an_unlinked_file_serves_where_memfd_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = memory.create("test", 4096)
    assert os.fstat(descriptor).st_nlink == 0
    assert len(memory.attach(descriptor)) == 4096
    os.close(descriptor)
