"""How large a batch should be: the smallest one at which this device is about as fast as it gets. No torch.

A larger batch gains nothing, and the next call waits longer for it. Beside interactive traffic, bulk work
gets only as much of a batch as makes the batch of one item a tenth longer: the next interactive call waits
for the rest of that batch, and then for its own. The sizes are measured once, after warm-up, on inputs of a
typical size, and for a short time. A device that is too slow or too busy for that gets batches of a least
size, which gain on every device that we have measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from worker.engine.batcher import Budget
from worker.errors import OutOfMemory
from worker.families import Encoder
from worker.runtime.notices import Modality
from worker.spec import ModelSpec

__all__ = ["budgets", "hardly_longer", "measure", "smallest_fast_enough"]

_TYPICAL_TOKENS = 16
_TEXTS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_GOOD_ENOUGH = 0.97
_LONGER = 0.1
_LEAST_RUNS = 3
_SECONDS_A_SIZE = 0.03
_SECONDS = 2.0
"""The most that measuring one kind may take; the largest size that fitted in is used then."""
_LEAST_TOKENS, _LEAST_IMAGES = 512, 4
"""On two slow cores these take a model of the real size 2 and 6 s, which is a fifth more images an hour than
one at a time. Whoever waits in them would have waited for those before it anyway."""


def budgets(encoder: Encoder, spec: ModelSpec, tokens: int = 0, images: int = 0) -> dict[Modality, Budget]:
    """Returns what a batch of each kind may hold. tokens, images: set by the operator; 0 measures them."""
    ids = np.full(min(_TYPICAL_TOKENS, spec.max_tokens), 2, np.int32)
    pixels = np.zeros((spec.image_size, spec.image_size, 3), np.uint8)
    bulk_tokens = bulk_images = 0
    if not tokens:
        texts = measure(_TEXTS, lambda size: encoder.text([ids] * size)())
        tokens = max(_LEAST_TOKENS, len(ids) * smallest_fast_enough(texts))
        bulk_tokens = len(ids) * hardly_longer(texts)
    if not images:
        pictures = measure(_IMAGES, lambda size: encoder.image([pixels] * size)())
        images, bulk_images = max(_LEAST_IMAGES, smallest_fast_enough(pictures)), hardly_longer(pictures)
    # Two of the longest texts must fit, or a bulk text and an interactive one could never share a batch.
    tokens = max(tokens, 2 * spec.max_tokens)
    return {
        Modality.TEXT: Budget(tokens, 4096, bulk_tokens),
        Modality.IMAGE: Budget(images, images, bulk_images),
        Modality.PROMPT: Budget(max(tokens, 4 * spec.max_tokens), 4096, bulk_tokens),
    }


def measure(
    sizes: tuple[int, ...], run: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """The seconds that a batch of each of `sizes` (rising, from one) takes, as far as time and the device's
    memory allow."""
    seconds: dict[int, float] = {}
    started = clock()
    for size in sizes:
        try:
            seconds[size] = quickest(size, run, clock)
        except OutOfMemory:
            if not seconds:
                raise
            break
        # The next size takes about twice as long, each time.
        if clock() - started + 2 * _LEAST_RUNS * seconds[size] > _SECONDS:
            break
    return seconds


def quickest(size: int, run: Callable[[int], object], clock: Callable[[], float]) -> float:
    """Returns the shortest time of several runs: other work on the machine can only make a run longer."""
    best, began, runs = math.inf, clock(), 0
    while runs < _LEAST_RUNS or clock() - began < _SECONDS_A_SIZE:
        before = clock()
        run(size)
        best = min(best, clock() - before)
        runs += 1
    return max(best, 1e-9)


def smallest_fast_enough(seconds: Mapping[int, float]) -> int:
    """The first size at which items a second reach 97% of the best. seconds: of rising sizes."""
    best = max(size / took for size, took in seconds.items())
    return next(size for size, took in seconds.items() if size / took >= _GOOD_ENOUGH * best)


def hardly_longer(seconds: Mapping[int, float]) -> int:
    """How many items may join one whose batch then takes a tenth longer, at least one; between two sizes in
    proportion."""
    most = (1 + _LONGER) * seconds[1]
    fits = 1
    for size, took in seconds.items():
        if took > most:
            before = seconds[fits]
            return max(1, fits + round((size - fits) * (most - before) / (took - before)) - 1)
        fits = size
    return max(1, fits - 1)
