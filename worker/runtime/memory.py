"""Memory that two processes share without a name. Imports the standard library only.

A file descriptor is all there is: nothing can be left behind when every holder has died, and no `/dev/shm`
size or resource tracker matters. Sealed against resizing, so that no peer can turn an access into SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile

__all__ = ["attach", "create"]


def create(name: str, size: int) -> int:
    """A descriptor of `size` zero bytes, closed on exec. `name` shows only in /proc. Raises OSError."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(
                descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            )
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    with tempfile.TemporaryFile(prefix=f"{name}-") as file:  # already unlinked
        os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno())


def attach(descriptor: int) -> mmap.mmap:
    """The whole of it, readable and writable, shared. The descriptor may be closed afterwards."""
    return mmap.mmap(
        descriptor, os.fstat(descriptor).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
    )
