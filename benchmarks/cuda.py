"""The encoders at full size on a CUDA device: against what the device can do, against launching every kernel
apart, and against transformers on the same device. Random weights of the real shapes, bfloat16.

The peak is this device's own: the fastest of a few large matrix products, measured before and after. Useful
work is counted as for a CPU: no padding, and of the last layer only what the first token calls for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import AltCLIPModel

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks import inputs
from benchmarks.calls import text_requests, unary
from benchmarks.engine import image_work, padded, ratios, text_work, transformers_model
from benchmarks.full_size import full_size_model, photographs, texts
from benchmarks.load import closed_loop
from benchmarks.report import Row, alternate
from tests.server import start_server
from worker.arrays import Ids, Pixels
from worker.engine.tuning import budgets
from worker.families import Pending, family
from worker.families.altclip.encoder import AltClipEncoder
from worker.families.altclip.loading import load
from worker.runtime.notices import Modality
from worker.spec import ModelSpec

__all__ = ["available", "rows"]

TEXTS, THEIRS, BATCH, IMAGES, BATCHES = 16_384, 2048, 64, 32, 16
AHEAD = 2
SERVED, A_CALL, IN_FLIGHT, CONNECTIONS, FRONTENDS = 16_384, 128, 32, 16, 4
SHAPES = ((8192, 1024, 4096), (8192, 4096, 1024), (8192, 8192, 8192))


def available() -> bool:
    return torch.cuda.is_available()


def rows(rounds: int = 5, parent: Path = Path("build")) -> list[Row]:
    """Makes the model, measures, and keeps it for the next run."""
    with full_size_model(parent) as spec:
        torch.zeros(1, device="cuda")
        before, started = _free(), time.perf_counter()
        encoder = load(spec, "cuda", "bfloat16", 0)
        loaded = time.perf_counter()
        encoder.warm_up()
        warm = time.perf_counter()
        sizes = budgets(encoder, spec)
        torch.cuda.empty_cache()
        held = before - _free()
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
        return [*found, memory, *_service(spec, encoder, budget, rounds)]


def _large(encoder: AltClipEncoder, reference: AltCLIPModel, budget: int, rounds: int) -> list[Row]:
    """What the device does when it has enough to do, with a batch launched ahead as the engine does it."""
    seeds = iter(range(10_000))
    batch: list[Ids] = []
    images = photographs(IMAGES, 0)

    def packed() -> float:
        batch[:] = texts(TEXTS, next(seeds))
        launches = [partial(encoder.text, part) for part in _batches(batch, budget)]
        return _seconds(lambda: _ahead(launches))

    def arrival() -> float:
        return _seconds(lambda: _padded(reference, batch[:THEIRS]))

    def by_length() -> float:
        return _seconds(lambda: _padded(reference, sorted(batch[:THEIRS], key=len)))

    work: list[float] = []

    def useful() -> float:
        work.append(sum(text_work(len(ids)) for ids in batch))
        return work[-1]

    def pictures() -> float:
        return _seconds(lambda: _ahead([partial(encoder.image, images)] * BATCHES))

    def their_pictures() -> float:
        return _seconds(lambda: [_pictured(reference, images) for _ in range(BATCHES)])

    for warm in (packed, arrival, by_length, pictures, their_pictures):
        warm()
    first, ours, flops, late, ordered, second, seen, theirs, third = alternate(
        peak, packed, useful, arrival, by_length, peak, pictures, their_pictures, peak, rounds=rounds
    )
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
    found = []
    for what, kind, items in cases:
        recorded, launched = (partial(getattr(one, kind), items) for one in (encoder, plain))
        times = alternate(partial(_typical, recorded), partial(_typical, launched), rounds=rounds)
        found.append(_replayed(f"CUDA engine, bfloat16, {what}", *times))
    return found


def _replayed(what: str, recorded: Sequence[float], launched: Sequence[float]) -> Row:
    return Row(
        f"{what}: time, from arrays to rows",
        "launching each kernel",
        [a / b for a, b in zip(recorded, launched, strict=True)],
        at_most=True,
        facts={"ms": float(np.median(recorded)) * 1e3, "against ms": float(np.median(launched)) * 1e3},
    )


def _service(spec: ModelSpec, encoder: AltClipEncoder, budget: int, rounds: int) -> list[Row]:
    """Calls of many texts each, as bulk jobs send them, against the same encoder in this process, offline,
    with the same batches' budget. They take turns on the device."""
    words = inputs.texts(SERVED, 0)
    calls = [words[first : first + A_CALL] for first in range(0, SERVED, A_CALL)]
    messages = [pb.EmbedTextRequest(texts=call).SerializeToString() for call in calls]
    ids = [tokens.ids for tokens in family("altclip").tokenizer(spec).encode(words)]
    batches = _batches(ids, budget)
    model = ("--model", f"full-size={spec.directory}", "--device", "cuda", "--batch-tokens", str(budget))
    with start_server(*model, "--frontends", str(FRONTENDS), ready_seconds=180) as server:

        def served() -> float:
            async def run() -> float:
                async with AsyncExitStack() as open_calls:
                    calls = [
                        await open_calls.enter_async_context(unary(server.grpc, "EmbedText", messages))
                        for _ in range(CONNECTIONS)
                    ]

                    async def call(number: int) -> None:
                        await calls[number % CONNECTIONS](number)

                    return (await closed_loop(call, len(messages), IN_FLIGHT)).rate * A_CALL

            return asyncio.run(run())

        def offline() -> float:
            launches = [partial(encoder.text, batch) for batch in batches]
            return SERVED / _seconds(lambda: _ahead(launches))

        served()
        answered, alone = alternate(served, offline, rounds=rounds)
        single = text_requests(words)

        def one_at_a_time() -> float:
            async def run() -> float:
                async with unary(server.grpc, "EmbedText", single) as call:
                    return (await closed_loop(call, 200, 1)).latency(0.5)

            return asyncio.run(run())

        waits = [one_at_a_time() for _ in range(rounds)]
    engine = _typical(partial(encoder.text, ids[:1]))
    return [
        Row(
            f"service on CUDA, calls of {A_CALL} texts, {IN_FLIGHT} in flight",
            f"the engine alone, offline, {budget} tokens a batch",
            ratios(answered, alone),
            facts={
                "texts/s": float(np.median(answered)),
                "alone, texts/s": float(np.median(alone)),
                "frontends": float(FRONTENDS),
            },
        ),
        Row(
            "service on CUDA, one text at a time: latency",
            "the engine alone",
            [wait / engine for wait in waits],
            at_most=True,
            facts={"ms": float(np.median(waits)) * 1e3, "alone, ms": engine * 1e3},
        ),
    ]


def _batches(ids: Sequence[Ids], budget: int) -> list[list[Ids]]:
    """As many texts each as have so many tokens together."""
    batches: list[list[Ids]] = [[]]
    tokens = 0
    for sequence in ids:
        if tokens + len(sequence) > budget:
            batches.append([])
            tokens = 0
        batches[-1].append(sequence)
        tokens += len(sequence)
    return batches


def peak() -> float:
    """Floating-point operations a second of the fastest of a few large bfloat16 products."""

    def rate(height: int, width: int, columns: int) -> float:
        a = torch.randn(height, width, device="cuda", dtype=torch.bfloat16)
        b = torch.randn(width, columns, device="cuda", dtype=torch.bfloat16)
        times = max(4, int(2e13 / (2 * height * width * columns)))
        for _ in range(3):
            a @ b
        out = torch.empty(height, columns, device="cuda", dtype=torch.bfloat16)
        seconds = _seconds(lambda: [torch.mm(a, b, out=out) for _ in range(times)])
        return times * 2 * height * width * columns / seconds

    return max(rate(*shape) for shape in SHAPES)


def _ahead(launches: Sequence[Callable[[], Pending]]) -> None:
    """As the engine does it: so many batches are under way, and the oldest is waited for."""
    pending: list[Pending] = []
    for launch in launches:
        pending.append(launch())
        if len(pending) == AHEAD:
            pending.pop(0)()
    for wait in pending:
        wait()


def _free() -> int:
    """Bytes of the device's memory."""
    free: int = torch.cuda.mem_get_info()[0]
    return free


def _typical(launch: Callable[[], Pending]) -> float:
    """The median of a few dozen."""
    return float(np.median([_seconds(lambda: launch()()) for _ in range(30)]))


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


def _seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started
