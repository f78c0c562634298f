"""How a decoder process is started, by a frontend or by a batch job. Imports no numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from worker.errors import ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage

__all__ = ["REFUSALS", "memory_bytes", "spawn"]

BYTES_PER_PIXEL = 20
"""Memory that decoding takes at most. Measured: 4 to 12, but for lossless WebP with alpha 19."""
SPARE_BYTES = 160 << 20
"""Memory for the rest: a picture of extreme shape takes 134 MB while it is resized."""

REFUSALS: Mapping[str, type[ImageError]] = {
    kind.__name__: kind for kind in (UndecodableImage, UnsupportedImage, ImageTooLarge)
}
"""The errors that the process may answer with."""
# The process gets only these variables: the environment may hold secrets, and it needs none.
_ENVIRONMENT = ("PATH", "LANG", "LC_", "LD_", "PYTHON")


def memory_bytes(max_pixels: int, max_file_bytes: int) -> int:
    """The memory that a decoder process may use beyond what it has when it starts."""
    return BYTES_PER_PIXEL * max_pixels + 2 * max_file_bytes + SPARE_BYTES


def spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """Starts an interpreter with only that descriptor. What its libraries print goes nowhere. Raises
    OSError."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    # Each thread would reserve 64 MiB of address space, which the process's limit counts as memory.
    kept["MALLOC_ARENA_MAX"] = "1"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.decoder", str(descriptor)],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=kept,
    )
