"""How large a batch should be: the smallest one at which this device is about as fast as it gets. No torch.

A larger batch than that gains nothing and makes whoever comes next wait longer. Measured once, after warm-up,
on inputs of a typical size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from worker.batcher import Budget
from worker.families import Encoder
from worker.jobs import Modality
from worker.spec import ModelSpec

__all__ = ["budgets", "smallest_fast_enough"]

_TYPICAL_TOKENS = 16
_TEXTS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_GOOD_ENOUGH = 0.95
_LEAST_RUNS = 3
_SECONDS_A_SIZE = 0.03
_SECONDS = 2.0
"""The most that measuring one kind may take; the largest size that fitted in is used then."""


def budgets(encoder: Encoder, spec: ModelSpec, tokens: int = 0, images: int = 0) -> dict[Modality, Budget]:
    """What a batch of each kind may hold. tokens, images: set by the operator, 0 to measure."""
    ids = np.full(min(_TYPICAL_TOKENS, spec.max_tokens), 2, np.int32)
    pixels = np.zeros((spec.image_size, spec.image_size, 3), np.uint8)
    if not tokens:
        tokens = len(ids) * smallest_fast_enough(_TEXTS, lambda size: encoder.text([ids] * size)())
    if not images:
        images = smallest_fast_enough(_IMAGES, lambda size: encoder.image([pixels] * size)())
    # Two of the longest texts must fit, or a bulk text and an interactive one could never share a batch.
    tokens = max(tokens, 2 * spec.max_tokens)
    return {
        Modality.TEXT: Budget(tokens, 4096),
        Modality.IMAGE: Budget(images, images),
        Modality.PROMPT: Budget(max(tokens, 4 * spec.max_tokens), 4096),
    }


def smallest_fast_enough(
    sizes: tuple[int, ...], run: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> int:
    """The first of `sizes` (rising) at which items a second reach 95% of the best that was seen."""
    started = clock()
    rates: dict[int, float] = {}
    for size in sizes:
        # The quickest of several runs: whatever else the machine does can only make a run slower.
        best_run, began, runs = math.inf, clock(), 0
        while runs < _LEAST_RUNS or clock() - began < _SECONDS_A_SIZE:
            before = clock()
            run(size)
            best_run = min(best_run, clock() - before)
            runs += 1
        rates[size] = size / max(best_run, 1e-9)
        # The next size takes about twice as long, each time.
        if clock() - started + 2 * _LEAST_RUNS * best_run > _SECONDS:
            break
    best = max(rates.values())
    return next(size for size, rate in rates.items() if rate >= _GOOD_ENOUGH * best)
