"""Which of torch's two libraries multiplies a few rows with a large float32 weight on a CPU.

Such a product is all reading of the weight. MKL reads as fast as memory gives for one row, but for a few it
takes a slow path on AMD's processors: six rows of 1024 with a weight of 4096 × 1024 took 5.3 ms, which oneDNN
did in 2.4, from the same mapped weight. Of the whole tower at full size oneDNN took 0.76 of MKL's time for 8
texts (126 rows) and 0.88 for 16 (234 rows), on two threads; with 500 rows the two are alike, and with 1,000
MKL is ahead.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["amd", "onednn_is_faster", "product"]

_FEW = range(2, 256)


def onednn_is_faster(rows: Tensor) -> bool:
    """Whether `product` is the way for these [tokens, width] on this machine."""
    few = rows.shape[0] in _FEW and rows.dtype is torch.float32 and rows.device.type == "cpu"
    return few and _usable()


def product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """rows · weight + bias by oneDNN, without a copy of the weight."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight, bias, "none", [], "")
    return result


def amd(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether AMD made the processor. processor: Linux's description of it."""
    try:
        return "AuthenticAMD" in processor.read_text(encoding="utf-8")
    except OSError:
        return False


@functools.cache
def _usable() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and amd()
