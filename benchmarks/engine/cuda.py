"""The encoders at full size on a CUDA device: against what the device can do, against launching every kernel
apart, and against transformers on the same device. Random weights of the real shapes, bfloat16.

The peak is this device's own: the fastest of a few large matrix products, measured before and after. Useful
work is counted as for a CPU: no padding, and of the last layer only what the first token calls for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import AltCLIPModel

from benchmarks.engine.cpu import image_work, padded, text_work, transformers_model
from benchmarks.engine.cuda_device import ahead, batches_of, free, peak, seconds_of, typical
from benchmarks.full_size import full_size_model, photographs, texts
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from benchmarks.service import on_cuda
from worker.arrays import Ids, Pixels
from worker.engine.tuning import budgets
from worker.families.altclip.encoder import AltClipEncoder
from worker.families.altclip.loading import load
from worker.runtime.notices import Modality

__all__ = ["available", "rows"]

Times = Sequence[float]

TEXTS, THEIRS, BATCH, IMAGES, BATCHES = 16_384, 2048, 64, 32, 16


def available() -> bool:
    return torch.cuda.is_available()


def rows(rounds: int = 5, parent: Path = Path("build")) -> list[Row]:
    """Makes the model, measures, and keeps it for the next run."""
    with full_size_model(parent) as spec:
        torch.zeros(1, device="cuda")
        before, started = free(), time.perf_counter()
        encoder = load(spec, "cuda", "bfloat16", 0)
        loaded = time.perf_counter()
        encoder.warm_up()
        warm = time.perf_counter()
        sizes = budgets(encoder, spec)
        torch.cuda.empty_cache()
        held = before - free()
        memory = Row(
            "memory of an encoder on a CUDA device, warmed up, with its recordings",
            "its weights",
            [held / encoder.info.weights_bytes],
            at_most=True,
            facts={
                "device": torch.cuda.get_device_name(),
                "load s": loaded - started,
                "warm-up s": warm - loaded,
                "tokens a batch": float(sizes[Modality.TEXT].cost),
                "images a batch": float(sizes[Modality.IMAGE].cost),
            },
        )
        budget = sizes[Modality.TEXT].cost
        plain = load(spec, "cuda", "bfloat16", 0)  # not warmed up, and so with nothing to replay
        found = [
            *_large(encoder, transformers_model(spec, "cuda", torch.bfloat16), budget, rounds),
            *_small(encoder, plain, rounds),
        ]
        return [*found, memory, *on_cuda.rows(spec, encoder, budget, rounds)]


def _large(encoder: AltClipEncoder, reference: AltCLIPModel, budget: int, rounds: int) -> list[Row]:
    """What the device does when it has enough to do, with a batch launched ahead as the engine does it."""
    seeds = iter(range(10_000))
    batch: list[Ids] = []
    images = photographs(IMAGES, 0)

    def packed() -> float:
        batch[:] = texts(TEXTS, next(seeds))
        launches = [partial(encoder.text, part) for part in batches_of(batch, budget)]
        return seconds_of(lambda: ahead(launches))

    def arrival() -> float:
        return seconds_of(lambda: _padded(reference, batch[:THEIRS]))

    def by_length() -> float:
        return seconds_of(lambda: _padded(reference, sorted(batch[:THEIRS], key=len)))

    work: list[float] = []

    def useful() -> float:
        work.append(sum(text_work(len(ids)) for ids in batch))
        return work[-1]

    def pictures() -> float:
        return seconds_of(lambda: ahead([partial(encoder.image, images)] * BATCHES))

    def their_pictures() -> float:
        return seconds_of(lambda: [_pictured(reference, images) for _ in range(BATCHES)])

    for warm in (packed, arrival, by_length, pictures, their_pictures):
        warm()
    return measured(
        _large_rows,
        *(peak, packed, useful, arrival, by_length, peak, pictures, their_pictures, peak),
        rounds=rounds,
    )


def _large_rows(
    first: Times,
    ours: Times,
    flops: Times,
    late: Times,
    ordered: Times,
    second: Times,
    seen: Times,
    theirs: Times,
    third: Times,
) -> list[Row]:
    around = [sum(pair) / 2 for pair in zip(first, second, strict=True)]
    around_images = [sum(pair) / 2 for pair in zip(second, third, strict=True)]
    image_flops = image_work() * IMAGES * BATCHES
    name = "CUDA engine, bfloat16, {}"
    teraflops = float(np.median(around)) / 1e12
    return [
        Row(
            name.format("texts of mixed lengths"),
            "matrix-multiply peak, useful tokens only",
            [work / seconds / best for work, seconds, best in zip(flops, ours, around, strict=True)],
            bar=0.75,
            facts={"texts/s": TEXTS / float(np.median(ours)), "peak TFLOP/s": teraflops},
        ),
        Row(
            name.format("texts of mixed lengths"),
            f"transformers in bfloat16, {BATCH} a batch, padded in order of arrival",
            [TEXTS / THEIRS * ratio for ratio in ratios(late, ours)],
            facts={"against texts/s": THEIRS / float(np.median(late))},
        ),
        Row(
            name.format("texts of mixed lengths"),
            f"transformers in bfloat16, {BATCH} a batch, padded after sorting by length",
            [TEXTS / THEIRS * ratio for ratio in ratios(ordered, ours)],
            facts={"against texts/s": THEIRS / float(np.median(ordered))},
        ),
        Row(
            name.format("images"),
            "matrix-multiply peak",
            [image_flops / seconds / best for seconds, best in zip(seen, around_images, strict=True)],
            bar=0.72,
            facts={"images/s": BATCHES * IMAGES / float(np.median(seen))},
        ),
        Row(
            name.format("images"),
            f"transformers in bfloat16, {IMAGES} a batch",
            ratios(theirs, seen),
            facts={"against images/s": BATCHES * IMAGES / float(np.median(theirs))},
        ),
    ]


def _small(encoder: AltClipEncoder, plain: AltClipEncoder, rounds: int) -> list[Row]:
    """What interactive traffic waits for: batches of a few, recorded and not."""
    cases: list[tuple[str, str, Sequence[Any]]] = [
        ("1 text of mixed lengths", "text", texts(1, 7)),
        ("16 texts of mixed lengths", "text", texts(16, 7)),
        ("64 texts of mixed lengths", "text", texts(64, 7)),
        ("1 image", "image", photographs(1, 7)),
        ("8 images", "image", photographs(8, 7)),
    ]
    found: list[Row] = []
    for what, kind, items in cases:
        recorded, launched = (partial(getattr(one, kind), items) for one in (encoder, plain))
        found += measured(
            partial(_replayed, f"CUDA engine, bfloat16, {what}"),
            *(partial(typical, one) for one in (recorded, launched)),
            rounds=rounds,
        )
    return found


def _replayed(what: str, recorded: Times, launched: Times) -> list[Row]:
    facts = {"ms": float(np.median(recorded)) * 1e3, "against ms": float(np.median(launched)) * 1e3}
    return [
        Row(
            f"{what}: time, from arrays to rows",
            "launching each kernel",
            ratios(recorded, launched),
            at_most=True,
            facts={**facts},
        )
    ]


@torch.inference_mode()
def _padded(model: AltCLIPModel, sequences: Sequence[Ids]) -> None:
    found = [padded(model, sequences[first : first + BATCH]) for first in range(0, len(sequences), BATCH)]
    torch.cat([_rows(one) for one in found]).float().cpu()


@torch.inference_mode()
def _pictured(model: AltCLIPModel, images: Sequence[Pixels]) -> None:
    pixels = torch.from_numpy(np.stack(images)).cuda().permute(0, 3, 1, 2).to(torch.bfloat16).div_(255)
    found = model.get_image_features(pixel_values=pixels)
    _rows(found).float().cpu()


def _rows(found: object) -> torch.Tensor:
    """The embeddings in what transformers answered."""
    return cast(torch.Tensor, getattr(found, "pooler_output", found))
