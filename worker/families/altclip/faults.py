"""What torch raises, as the errors that the engine acts on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.errors import DeviceLost, OutOfMemory

__all__ = ["faults_named"]

_NO_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch, CUDA and its libraries say of memory where they raise no error of its own."""


@contextmanager
def faults_named() -> Iterator[None]:
    """torch's errors as `OutOfMemory` (try a smaller batch) and `DeviceLost` (start a new process)."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error)) from error
    except MemoryError as error:
        raise OutOfMemory("the host has no memory for this batch") from error
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_MEMORY):
            raise OutOfMemory(str(error)) from error
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise DeviceLost(str(error)) from error
        raise
