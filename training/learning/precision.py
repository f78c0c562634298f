"""In which precision training multiplies: bfloat16 where the device does, else float32.

Without instructions for it, a processor's bfloat16 product is many times slower than its float32 product.
"""

from functools import cache
from pathlib import Path

import torch

_NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As Linux names it on Intel and AMD, and on Arm."""


@cache
def processor_dtype(processor: Path = Path("/proc/cpuinfo")) -> torch.dtype:
    """processor: Linux's description of it, which lists what it can."""
    known = _NATIVE.intersection(processor.read_text(encoding="utf-8").split())
    return torch.bfloat16 if known else torch.float32


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, what the processor has on a CPU."""
    return processor_dtype() if device.type == "cpu" else torch.bfloat16
