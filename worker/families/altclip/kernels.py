"""Which of several ways to multiply is the fastest on this machine: a table that is measured. No torch.

    weight's shape ─▶ bucket of rows ─▶ way        4096x1024: onednn onednn onednn mkl …

No processor's name tells it: what was fastest on one machine was not on the next, nor for other numbers of
rows. The weights themselves are multiplied, each time those of another layer, because a product of few rows
is all reading of a weight that no cache holds.

A way that needs a packed copy of its weights is taken for every number of rows or for none, so that what
serves holds one copy of them.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "AUTO",
    "BUCKETS",
    "KERNELS",
    "MKL",
    "ONEDNN",
    "PACKED",
    "SECONDS",
    "TRIED",
    "Choice",
    "Run",
    "Table",
    "bucket",
    "choose",
    "everywhere",
    "shape_name",
]

MKL, ONEDNN, PACKED = "mkl", "onednn", "onednn-packed"
AUTO = "auto"
KERNELS = (AUTO, MKL, ONEDNN, PACKED)
"""What an operator may ask for."""

BUCKETS = (1, 2, 8, 32, 128, 384)
"""The smallest number of rows in each bucket."""
TRIED = (1, 6, 20, 64, 256, 512)
"""The number of rows that stands for each."""

Choice = tuple[str, ...]
"""A way for each bucket."""
Table = Mapping[str, Choice]
"""A choice for each shape of weights, "4096x1024" for 4,096 outputs of 1,024 inputs."""
Run = Callable[[int], object]
"""Multiplies so many rows."""

SECONDS = 3.0
"""The most that measuring may take, with what is made for it. Buckets that it leaves out are computed as the
last that was measured."""
_RUNS, _MOST_RUNS, _SHORT = 3, 6, 0.005
"""Of each way; more where all take less than so many seconds: there a neighbour's work weighs most."""
_CLEARLY = 0.95
"""Another way than the first must take less than this part of its time."""


def bucket(rows: int) -> int:
    """The number of the bucket that so many rows, at least one, are in."""
    return bisect_right(BUCKETS, rows) - 1


def everywhere(way: str) -> Choice:
    """The choice of one way for every number of rows."""
    return (way,) * len(BUCKETS)


def shape_name(outputs: int, inputs: int) -> str:
    """As tables have it."""
    return f"{outputs}x{inputs}"


def choose(
    trials: Mapping[str, Mapping[str, Run]],
    packed_pays: float,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = SECONDS,
) -> dict[str, Choice]:
    """The fastest way for each shape and bucket, within so many seconds.

    trials: shape → way → what multiplies in that way. Of each shape the first way is taken unless another is
    clearly faster. packed_pays: the packed way is taken where it needs less than this part of the time of the
    fastest other way, by the geometric mean of the buckets.
    """
    ends = clock() + seconds
    found: dict[str, list[Mapping[str, float]]] = {shape: [] for shape in trials}
    for rows in TRIED:
        for shape, ways in trials.items():
            if clock() < ends:
                found[shape].append(_quickest(ways, rows, clock))
    return {shape: _choice(tuple(trials[shape]), found[shape], packed_pays) for shape in trials}


def _quickest(ways: Mapping[str, Run], rows: int, clock: Callable[[], float]) -> dict[str, float]:
    """The shortest time of several runs of each, in alternation: other work can only make a run longer."""
    took = dict.fromkeys(ways, math.inf)
    for done in range(_MOST_RUNS):
        if done >= _RUNS and max(took.values()) >= _SHORT:
            break
        for way, run in ways.items():
            before = clock()
            run(rows)
            took[way] = min(took[way], clock() - before)
    return took


def _choice(ways: Sequence[str], found: Sequence[Mapping[str, float]], packed_pays: float) -> Choice:
    """See `choose`. found: the seconds of each way, bucket after bucket, as far as they were measured."""
    unpacked = [way for way in ways if way != PACKED]
    if not unpacked:
        return everywhere(PACKED)
    taken = [unpacked[0]] if not found else []
    parts = []
    for took in found:
        fastest = min(unpacked, key=lambda way: took[way])
        if took[fastest] >= _CLEARLY * took[unpacked[0]]:
            fastest = unpacked[0]
        taken.append(fastest)
        parts.append(max(took.get(PACKED, math.inf), 1e-9) / max(took[fastest], 1e-9))
    # Of ratios the geometric mean: one bucket in which others had the machine decides little.
    if parts and math.prod(parts) ** (1 / len(parts)) < packed_pays:
        return everywhere(PACKED)
    return (*taken, *[taken[-1]] * (len(BUCKETS) - len(taken)))
