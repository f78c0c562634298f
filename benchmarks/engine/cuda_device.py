"""A CUDA device as the benchmarks see it: its peak, its free memory, and how long work on it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from worker.arrays import Ids
from worker.families import Pending

__all__ = ["ahead", "batches_of", "free", "peak", "seconds_of", "typical"]

AHEAD = 2
SHAPES = ((8192, 1024, 4096), (8192, 4096, 1024), (8192, 8192, 8192))


def peak() -> float:
    """Floating-point operations a second of the fastest of a few large bfloat16 products."""

    def rate(height: int, width: int, columns: int) -> float:
        a = torch.randn(height, width, device="cuda", dtype=torch.bfloat16)
        b = torch.randn(width, columns, device="cuda", dtype=torch.bfloat16)
        times = max(4, int(2e13 / (2 * height * width * columns)))
        for _ in range(3):
            a @ b
        out = torch.empty(height, columns, device="cuda", dtype=torch.bfloat16)
        seconds = seconds_of(lambda: [torch.mm(a, b, out=out) for _ in range(times)])
        return times * 2 * height * width * columns / seconds

    return max(rate(*shape) for shape in SHAPES)


def seconds_of(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def typical(launch: Callable[[], Pending]) -> float:
    """The median of a few dozen."""
    return float(np.median([seconds_of(lambda: launch()()) for _ in range(30)]))


def ahead(launches: Sequence[Callable[[], Pending]]) -> None:
    """As the engine does it: so many batches are under way, and the oldest is waited for."""
    pending: list[Pending] = []
    for launch in launches:
        pending.append(launch())
        if len(pending) == AHEAD:
            pending.pop(0)()
    for wait in pending:
        wait()


def batches_of(ids: Sequence[Ids], budget: int) -> list[list[Ids]]:
    """As many texts each as have so many tokens together."""
    batches: list[list[Ids]] = [[]]
    tokens = 0
    for sequence in ids:
        if tokens + len(sequence) > budget:
            batches.append([])
            tokens = 0
        batches[-1].append(sequence)
        tokens += len(sequence)
    return batches


def free() -> int:
    """Bytes of the device's memory."""
    free: int = torch.cuda.mem_get_info()[0]
    return free
