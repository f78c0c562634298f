"""Where the encoders are on this machine's roofline: operations a second against operations per byte of
weights, for batches of one short text to many, beside the two limits (reading memory, multiplying matrices)
as this machine shows them in the same run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine.cpu import LAYERS, WIDTH, image_work, peak, text_work
from benchmarks.full_size import full_size_model, photographs
from benchmarks.report import Row
from benchmarks.rounds import measured
from worker.arrays import Ids
from worker.families import family
from worker.runtime.cores import usable_cores

__all__ = ["rows"]

TEXTS = (1, 4, 16, 64)
IMAGES = (1, 4)
TOKENS = 15
WEIGHTS = LAYERS * 12 * WIDTH**2 * 4
"""Bytes of a tower's matrices, each read once a batch."""


def rows(rounds: int = 3, parent: Path = Path("build")) -> list[Row]:
    """Each ratio: operations a second over what the roofline allows at that intensity."""
    torch.set_num_threads(usable_cores())
    found: list[Row] = []
    with full_size_model(parent) as spec:
        encoder = family("altclip").load(spec, "cpu", "float32", 0)
        encoder.warm_up()
        text: Ids = np.array([0, *range(9, 9 + TOKENS - 2), 2], np.int32)
        picture = photographs(1, 0)[0]
        points: list[tuple[str, float, Callable[[], object]]] = [
            (
                f"{count} texts of {TOKENS} tokens",
                count * text_work(TOKENS),
                _batch(encoder.text, text, count),
            )
            for count in TEXTS
        ]
        points += [
            (f"{count} images", count * image_work(), _batch(encoder.image, picture, count))
            for count in IMAGES
        ]
        for name, work, run in points:
            found += measured(
                functools.partial(_rows, name, work),
                peak,
                _bandwidth,
                functools.partial(_seconds, run),
                rounds=rounds,
            )
    return found


def _rows(
    name: str, work: float, tops: Sequence[float], bandwidths: Sequence[float], seconds: Sequence[float]
) -> list[Row]:
    """work: operations of a batch."""
    intensity = work / WEIGHTS
    reached = [
        work / second / min(top, bandwidth * intensity)
        for top, bandwidth, second in zip(tops, bandwidths, seconds, strict=True)
    ]
    facts: dict[str, float | str] = {
        "operations per byte": intensity,
        "GFLOP/s": work / float(np.median(seconds)) / 1e9,
        "peak GFLOP/s": float(np.median(tops)) / 1e9,
        "GB/s": float(np.median(bandwidths)) / 1e9,
    }
    return [Row(f"roofline, {name} a batch", "what memory and multiplying allow", reached, facts=facts)]


def _batch(encode: Callable[..., Callable[[], object]], item: object, count: int) -> Callable[[], object]:
    return lambda: encode([item] * count)()


def _bandwidth() -> float:
    """Bytes a second when a gigabyte is read by all threads."""
    values = torch.ones(1 << 28)
    values.sum()
    return values.nbytes / min(_seconds(values.sum) for _ in range(3))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
