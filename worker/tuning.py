"""How large a batch should be: the smallest one at which this device is about as fast as it gets. No torch.

A larger batch than that gains nothing and makes whoever comes next wait longer. Bulk work beside interactive
traffic gets no more of it than what makes the batch of one item a tenth longer: who comes next waits for the
rest of such a batch and then for one that is its own. Measured once, after warm-up, on inputs of a typical
size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from worker.batcher import Budget
from worker.errors import OutOfMemory
from worker.families import Encoder
from worker.jobs import Modality
from worker.spec import ModelSpec

__all__ = ["budgets", "hardly_longer", "measure", "smallest_fast_enough"]

_TYPICAL_TOKENS = 16
_TEXTS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_GOOD_ENOUGH = 0.97
_WORTH_IT = 1.05
_LONGER = 0.1
_LEAST_RUNS = 3
_SECONDS_A_SIZE = 0.03
_LONG_RUNS = 0.5
"""Seconds of runs that tell as much as many would: hardly anything disturbs all of them."""
_SECONDS = 2.0
"""What measuring one kind may take in any case; the largest size that fitted in is used then."""
_MOST_SECONDS = 15.0
"""What it may take on a slow device, as long as larger batches are worth it."""


def budgets(encoder: Encoder, spec: ModelSpec, tokens: int = 0, images: int = 0) -> dict[Modality, Budget]:
    """What a batch of each kind may hold. tokens, images: set by the operator, 0 to measure."""
    ids = np.full(min(_TYPICAL_TOKENS, spec.max_tokens), 2, np.int32)
    pixels = np.zeros((spec.image_size, spec.image_size, 3), np.uint8)
    bulk_tokens = bulk_images = 0
    if not tokens:
        texts = measure(_TEXTS, lambda size: encoder.text([ids] * size)())
        tokens, bulk_tokens = len(ids) * smallest_fast_enough(texts), len(ids) * hardly_longer(texts)
    if not images:
        pictures = measure(_IMAGES, lambda size: encoder.image([pixels] * size)())
        images, bulk_images = smallest_fast_enough(pictures), hardly_longer(pictures)
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
    """The seconds that a batch of each of `sizes` (rising, from one) takes, as far as the device's memory and
    time allow: little time, unless it is slow and larger batches have been worth it up to now."""
    seconds: dict[int, float] = {}
    started = clock()
    for size in sizes:
        try:
            seconds[size] = quickest(size, run, clock)
        except OutOfMemory:
            if not seconds:
                raise
            break
        most = _MOST_SECONDS if _still_worth_it(seconds) else _SECONDS
        # The next size takes about twice as long, each time.
        if clock() - started + 2 * _runs_time(seconds[size]) > most:
            break
    return seconds


def _still_worth_it(seconds: Mapping[int, float]) -> bool:
    """Whether one of the last two sizes was better than all before; one alone may have been disturbed."""
    rates = [size / took for size, took in seconds.items()]
    return _WORTH_IT * max(rates[:-2], default=0.0) < max(rates[-2:])


def quickest(size: int, run: Callable[[int], object], clock: Callable[[], float]) -> float:
    """Of several runs: whatever else the machine does can only make a run slower."""
    best, spent, runs = math.inf, 0.0, 0
    while spent < _SECONDS_A_SIZE or (runs < _LEAST_RUNS and spent < _LONG_RUNS):
        before = clock()
        run(size)
        took = clock() - before
        best, spent, runs = min(best, took), spent + took, runs + 1
    return max(best, 1e-9)


def _runs_time(one: float) -> float:
    """How long the runs of a size take of which one takes so long."""
    return max(_SECONDS_A_SIZE, min(_LEAST_RUNS * one, max(one, _LONG_RUNS)))


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
