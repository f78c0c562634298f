"""How a batch is copied to a device and its result back, and how the work there is launched.

On a CPU nothing is copied and the call computes. On a CUDA device the host only enqueues work. Its input lies
in pinned memory and is copied while earlier work runs. Small batches, whose kernels take the host longer to
launch than the device to run, are recorded once and replayed as one (CUDA graphs).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Cuda", "Device", "Host", "Recordings"]

Array = npt.NDArray[Any]
RESERVE = 8
"""Recordings leave one part of so many of a device's memory free."""


class Device(Protocol):
    """Used by one thread, under `torch.inference_mode`."""

    enqueues: bool
    """Whether a call only enqueues work. There texts are laid into bins of equal size, and small batches are
    recorded. Where the call computes, texts run in groups of equal length: few cores are fastest that way."""

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory of the host that `upload` takes, not yet filled. Never used again once uploaded."""
        ...

    def upload(self, staged: Tensor) -> Tensor:
        """The same on the device, for work that is enqueued from now on."""
        ...

    def download(self, rows: Tensor) -> Callable[[], Array]:
        """`rows` as they are after all work enqueued so far; the call waits for that."""
        ...

    def record(self, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """What `run` does, to be done again by one call, and the tensor that then holds its result."""
        ...


class Host:
    """A CPU."""

    enqueues = False

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype)

    def upload(self, staged: Tensor) -> Tensor:
        return staged

    def download(self, rows: Tensor) -> Callable[[], Array]:
        return rows.numpy

    def record(self, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        rows = run()

        def again() -> None:
            rows.copy_(run())

        return rows, again


class Cuda:
    """One CUDA device. All work is on the current stream; what arrives has a stream of its own."""

    enqueues = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._arrivals = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()  # recordings never run at once, so they share it
        # A graph takes its stream's workspaces with it when it goes, also one whose recording failed, and the
        # others go on using them.
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def upload(self, staged: Tensor) -> Tensor:
        work = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._arrivals):
            there = staged.to(self._device, non_blocking=True)
        work.wait_stream(self._arrivals)
        there.record_stream(work)  # or its memory could go to the next arrival while it is read
        return there

    def download(self, rows: Tensor) -> Callable[[], Array]:
        here = self.staging(rows.shape, rows.dtype).copy_(rows, non_blocking=True)
        done = torch.cuda.current_stream(self._device).record_event()

        def wait() -> Array:
            done.synchronize()
            return here.numpy()

        return wait

    def record(self, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        self._aside.wait_stream(torch.cuda.current_stream(self._device))
        try:
            with torch.cuda.stream(self._aside):
                run()  # so that nothing of what libraries do at their first call is recorded
        finally:
            self._aside.synchronize()
        # The recording takes as much as this run did and still holds.
        free, total = torch.cuda.mem_get_info(self._device)
        if free < total // RESERVE:
            raise torch.OutOfMemoryError("what is left is for batches that are not recorded")
        graph = torch.cuda.CUDAGraph()
        self._graphs.append(graph)
        with torch.cuda.graph(graph, pool=self._memory, stream=self._aside):
            rows = run()
        return rows, graph.replay


class _Recording(NamedTuple):
    batch: Tensor
    rows: Tensor
    replay: Callable[[], None]


class Recordings:
    """A function from a batch on the device to its rows, recorded for batches of some sizes."""

    def __init__(
        self, device: Device, run: Callable[[Tensor, int], Tensor], blank: Callable[[int], Tensor]
    ) -> None:
        """run: of a batch and its size. blank: a batch of that size that can be run."""
        self._device, self._run, self._blank = device, run, blank
        self._recordings: dict[int, _Recording] = {}

    def record(self, sizes: Sequence[int]) -> None:
        """Records as many sizes as fit the device's memory, the largest first: others share its memory."""
        for size in sorted(sizes, reverse=True):
            with contextlib.suppress(torch.OutOfMemoryError):
                batch = self._blank(size)
                rows, replay = self._device.record(functools.partial(self._run, batch, size))
                self._recordings[size] = _Recording(batch, rows, replay)

    def __len__(self) -> int:
        return len(self._recordings)

    def fitting(self, size: int) -> int:
        """The smallest recorded size that holds as much; 0 where none does."""
        return min((known for known in self._recordings if known >= size), default=0)

    def replay(self, size: int, batch: Tensor) -> Tensor:
        """The rows of a batch of a recorded size. A shorter batch leaves old rows behind its own.

        Every call returns the same memory: download it before the next call.
        """
        recording = self._recordings[size]
        recording.batch[: len(batch)].copy_(batch)
        recording.replay()
        return recording.rows
