"""How large a batch should be: the smallest one at which this device is about as fast as it gets. No torch.

A larger batch than that gains nothing and makes whoever comes next wait longer. Measured once, after warm-up,
on inputs of a typical size.
"""

from __future__ import annotations

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
_SECONDS = 1.5
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
        seconds = []
        for _ in range(2):
            before = clock()
            run(size)
            seconds.append(clock() - before)
        rates[size] = size / max(min(seconds), 1e-9)
        # The next size takes about twice as long again, twice.
        if clock() - started + 4 * min(seconds) > _SECONDS:
            break
    best = max(rates.values())
    return next(size for size, rate in rates.items() if rate >= _GOOD_ENOUGH * best)
