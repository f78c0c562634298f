"""The encoders at full size on this processor, against what the processor can do, and against transformers.

Random weights of the real shapes, float32. The peak is this machine's own: the fastest of a few large matrix
products by any of torch's ways, measured before and after in the same run on the same threads. Useful work
is counted in multiplications and additions of what the answer needs: no padding, and of the last layer only
what the first token calls for.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AltCLIPModel

from benchmarks.full_size import full_size_model, photographs, texts
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from worker.arrays import Ids, Pixels
from worker.families import Encoder, family
from worker.families.altclip.cpu import FLOAT_WAYS, Way
from worker.families.altclip.loading import empty_model
from worker.runtime.cores import usable_cores
from worker.spec import ModelSpec

__all__ = ["image_work", "padded", "peak", "rows", "text_work", "transformers_model"]

Times = Sequence[float]

WIDTH, FEED_FORWARD, LAYERS, PATCHES, DIMENSION = 1024, 4096, 24, 256, 768
TEXTS, BATCH, IMAGES = 64, 32, 4
MEASURED_APART = """
import json, resource, sys, time
import torch
from worker.families.altclip.loading import load
from worker.spec import ModelSpec
def status(kind):
    return 1024 * next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(kind))
spec = ModelSpec.from_dict(json.loads(sys.argv[1]))
before = status("VmRSS")
started = time.perf_counter()
model = load(spec, "cpu", "float32", 0)
for tensor in model.weights():
    tensor.view(-1)[::1024].sum()  # each page once
seconds = time.perf_counter() - started
model.warm_up()
model.text([[0, 2]] * 4)()
print(json.dumps({
    "resident": status("VmRSS") - before, "private": status("RssAnon"), "peak": status("VmHWM") - before,
    "weights": model.info.weights_bytes, "seconds": seconds,
}))
"""


def rows(rounds: int = 5, parent: Path = Path("build")) -> list[Row]:
    """Makes the model, measures, and removes it."""
    torch.set_num_threads(usable_cores())
    with full_size_model(parent) as spec:
        memory = [_apart(spec) for _ in range(rounds)]
        encoder = family("altclip").load(spec, "cpu", "float32", 0)
        encoder.warm_up()
        return [*_speed(encoder, transformers_model(spec), rounds), *_memory(spec, memory)]


def _speed(encoder: Encoder, reference: AltCLIPModel, rounds: int) -> list[Row]:
    seeds = iter(range(10_000))
    batch: list[Ids] = []
    images: list[Pixels] = photographs(IMAGES, 0)

    def packed() -> float:
        batch[:] = texts(TEXTS, next(seeds))  # the same texts for the next three
        return _seconds(lambda: encoder.text(batch)())

    def arrival() -> float:
        return _seconds(lambda: [padded(reference, batch[i : i + BATCH]) for i in range(0, TEXTS, BATCH)])

    def sorted_() -> float:
        ordered = sorted(batch, key=len)
        return _seconds(lambda: [padded(reference, ordered[i : i + BATCH]) for i in range(0, TEXTS, BATCH)])

    def useful() -> float:
        return sum(text_work(len(ids)) for ids in batch)

    def image() -> float:
        return _seconds(lambda: encoder.image(images)())

    def image_reference() -> float:
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
        return _seconds(lambda: reference.get_image_features(pixel_values=pixels))

    def short() -> float:
        return _seconds(lambda: encoder.text([np.array([0, 9, 8, 7, 6, 2], np.int32)])())

    return measured(
        _rows,
        *(peak, packed, useful, peak, arrival, sorted_, peak, image, peak, image_reference, short),
        rounds=rounds,
    )


def _rows(
    first: Times,
    ours: Times,
    flops: Times,
    second: Times,
    late: Times,
    by_length: Times,
    third: Times,
    pictures: Times,
    fourth: Times,
    theirs: Times,
    alone: Times,
) -> list[Row]:
    around_text = [sum(pair) / 2 for pair in zip(first, second, strict=True)]
    around_images = [sum(pair) / 2 for pair in zip(third, fourth, strict=True)]
    image_flops = image_work() * IMAGES
    gigaflops = float(np.median(around_text)) / 1e9
    return [
        Row(
            "engine, text, packed, mixed lengths, float32",
            "matrix-multiply peak, useful tokens only",
            [work / seconds / best for work, seconds, best in zip(flops, ours, around_text, strict=True)],
            bar=0.88,
            facts={
                "texts/s": _rate(TEXTS, ours),
                "peak GFLOP/s": gigaflops,
                "threads": torch.get_num_threads(),
            },
        ),
        Row(
            "engine, text, packed",
            "transformers, padded in order of arrival",
            ratios(late, ours),
            bar=4.2,
            facts={"texts/s": _rate(TEXTS, ours), "against texts/s": _rate(TEXTS, late), "batch": BATCH},
        ),
        Row(
            "engine, text, packed",
            "transformers, padded after sorting by length",
            ratios(by_length, ours),
            bar=2.0,
            facts={"texts/s": _rate(TEXTS, ours), "against texts/s": _rate(TEXTS, by_length), "batch": BATCH},
        ),
        Row(
            "engine, image, float32",
            "matrix-multiply peak",
            [image_flops / seconds / best for seconds, best in zip(pictures, around_images, strict=True)],
            bar=0.90,
            facts={
                "images/s": _rate(IMAGES, pictures),
                "times transformers": float(np.median(ratios(theirs, pictures))),
            },
        ),
        Row(
            "engine, one text of 6 tokens",
            "reading its weights once at 10 GB/s",
            [seconds / (LAYERS * 12 * WIDTH**2 * 4 / 10e9) for seconds in alone],
            at_most=True,
            facts={"milliseconds": float(np.median(alone)) * 1e3},
        ),
    ]


def _memory(spec: ModelSpec, measured: Sequence[dict[str, float]]) -> list[Row]:
    weights = measured[0]["weights"]
    return [
        Row(
            "resident memory of a float32 worker beyond its imports",
            "its weights",
            [sample["resident"] / weights for sample in measured],
            bar=1.15,
            at_most=True,
            facts={
                "weights GB": weights / 1e9,
                "peak": max(sample["peak"] for sample in measured) / weights,
                "shareable": 1 - measured[0]["private"] / weights,
            },
        ),
        Row(
            "cold start: from opening the file to every weight resident",
            "reading the file once",
            [sample["seconds"] / sample["read"] for sample in measured],
            bar=1.3,
            at_most=True,
            facts={
                "seconds": float(np.median([sample["seconds"] for sample in measured])),
                "reading": float(np.median([sample["read"] for sample in measured])),
            },
        ),
    ]


def _apart(spec: ModelSpec) -> dict[str, float]:
    """One worker's load in a process of its own, and one reading of the file, both from the page cache."""
    path = Path(spec.directory) / "model.safetensors"
    buffer = bytearray(1 << 24)

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    read()  # the first one brings it into the cache
    arguments = [sys.executable, "-c", MEASURED_APART, json.dumps(spec.to_dict())]
    run = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return {**json.loads(run.stdout), "read": _seconds(read)}


def peak(dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large matrix product, kept up for a second.

    Kept up, because whoever shares the machine disturbs what is measured beside it for as long. By the
    fastest of torch's ways, also one that the engine leaves out for its memory.
    """
    shape, way = _fastest(dtype)
    multiply = _product(shape, way, dtype)
    started, count = time.perf_counter(), 0
    with torch.inference_mode():
        while (seconds := time.perf_counter() - started) < 1:
            multiply()
            count += 1
    return count * 2 * math.prod(shape) / seconds


@functools.cache
def _fastest(dtype: torch.dtype) -> tuple[tuple[int, int, int], Way]:
    """Which of a few large products (rows, inputs, outputs) this processor is fastest at, in which way."""
    shapes = ((2048, 1024, 4096), (2048, 2048, 2048), (1024, 4096, 1024))

    def rate(tried: tuple[tuple[int, int, int], Way]) -> float:
        try:
            multiply = _product(*tried, dtype)
            return math.prod(tried[0]) / min(_seconds(multiply) for _ in range(4))
        except (AttributeError, RuntimeError):  # a way that this machine does not have
            return 0.0

    return max(itertools.product(shapes, FLOAT_WAYS.values()), key=rate)


def _product(shape: tuple[int, int, int], way: Way, dtype: torch.dtype) -> Callable[[], object]:
    rows, inputs, outputs = shape
    given, weight = (torch.randn(size, inputs).to(dtype) for size in (rows, outputs))
    made = way(weight, None)
    return lambda: made(given)


def text_work(tokens: int) -> float:
    """Operations that one text's embedding needs."""
    return _tower_work(tokens) + 2 * WIDTH * DIMENSION + 2 * DIMENSION**2


def image_work() -> float:
    """Operations that one image's embedding needs."""
    return _tower_work(PATCHES + 1) + 2 * PATCHES * 14 * 14 * 3 * WIDTH + 2 * WIDTH * DIMENSION


def _tower_work(tokens: int) -> float:
    square, feed = 2 * WIDTH**2, 4 * WIDTH * FEED_FORWARD
    full = tokens * (4 * square + feed) + 4 * tokens**2 * WIDTH
    last = tokens * 2 * square + 2 * square + feed + 4 * tokens * WIDTH
    return (LAYERS - 1) * full + last


def transformers_model(
    spec: ModelSpec, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> AltCLIPModel:
    """The same weights under transformers' own forward; on a CPU the same mapped ones."""
    from worker import checkpoint

    model = empty_model(Path(spec.directory))
    checkpoint.load(model, Path(spec.directory), device, dtype)
    for name, buffer in list(model.named_buffers()):  # what is computed is not in the file
        owner, _, last = name.rpartition(".")
        shape = buffer.shape
        values = (
            torch.zeros(shape, dtype=torch.long) if "type" in last else torch.arange(shape[-1]).expand(shape)
        )
        setattr(model.get_submodule(owner), last, values.to(device))
    return model


@torch.inference_mode()
def padded(model: AltCLIPModel, batch: Sequence[Ids]) -> Any:
    """What transformers gives for the texts, padded to the longest of them."""
    width = max(map(len, batch))
    ids = torch.ones((len(batch), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, sequence in enumerate(batch):
        ids[number, : len(sequence)] = torch.from_numpy(sequence)
        mask[number, : len(sequence)] = 1
    return model.get_text_features(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))


@torch.inference_mode()
def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _rate(items: int, seconds: Sequence[float]) -> float:
    return items / float(np.median(seconds))


if __name__ == "__main__":
    from benchmarks.report import table

    print(table(rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
