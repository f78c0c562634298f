"""What the service costs beside the engine alone: the full-size model in a running service, unary calls in a
closed loop and one bulk stream, against the same encoder in this process, offline, with the same batches'
budget. Both have every core; they take turns, and whoever waits sleeps.

    texts ─▶ service (frontend, link, batch decision, encoder) ─▶ answers     tokens a second
    ids ───▶ encoder, batch by batch ─▶ rows                                  tokens a second
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from altclip.aio import AsyncClient
from benchmarks import inputs
from benchmarks.calls import image_requests, text_requests, unary
from benchmarks.full_size import full_size_model
from benchmarks.load import closed_loop, work_rate
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import start_server
from worker.arrays import Ids, Pixels
from worker.families import Encoder, family
from worker.runtime.cores import usable_cores

__all__ = ["rows"]

Rates = Sequence[float]

TOKENS, IMAGES = 512, 4
"""What a batch may hold, here and there."""
TEXTS, PICTURES = 256, 24
IN_FLIGHT = {"EmbedText": 80, "EmbedImage": 12}
"""Enough that a batch is full whenever the engine is free."""


def rows(rounds: int = 5, parent: Path = Path("build")) -> list[Row]:
    """Three rows: texts, small pictures, a stream of texts."""
    torch.set_num_threads(usable_cores())
    texts = inputs.texts(TEXTS, 0)
    # Small ones: what decoding costs has a row of its own, against the other servers.
    pictures = inputs.jpegs(PICTURES, 0, inputs.SMALL)
    with full_size_model(parent) as spec:
        kind = family("altclip")
        encoder = kind.load(spec, "cpu", "float32", 0)
        encoder.warm_up()
        ids = [tokens.ids for tokens in kind.tokenizer(spec).encode(texts)]
        preparer = kind.image_processor(spec)
        pixels = [preparer.prepare(picture) for picture in pictures]
        lengths = [len(sequence) for sequence in ids]
        with start_server(
            *("--model", f"full-size={spec.directory}"),
            *("--batch-tokens", str(TOKENS), "--batch-images", str(IMAGES)),
            *("--max-wait", "60"),  # on slow processors a few batches take longer than the usual ten seconds
        ) as server:

            def served(method: str, requests: Sequence[bytes], work: Sequence[int]) -> float:
                async def run() -> float:
                    async with unary(server.grpc, method, requests) as call:
                        load = await closed_loop(call, len(requests), IN_FLIGHT[method])
                        return work_rate(load, lambda item: work[item])

                return asyncio.run(run())

            words, images = text_requests(texts), image_requests(pictures)
            of_texts = measured(
                partial(_text_rows, sum(lengths) / len(lengths)),
                lambda: served("EmbedText", words, lengths),
                lambda: sum(lengths) / asyncio.run(_stream(server.grpc, texts)),
                lambda: sum(lengths) / _offline_texts(encoder, ids),
                rounds=rounds,
            )
            of_images = measured(
                _image_rows,
                lambda: served("EmbedImage", images, [1] * len(images)),
                lambda: len(pixels) / _offline_images(encoder, pixels),
                rounds=rounds,
            )
    return [*of_texts, *of_images]


def _text_rows(a_text: float, unary: Rates, stream: Rates, offline: Rates) -> list[Row]:
    """a_text: tokens of one."""
    batch, callers = f"{TOKENS} tokens a batch", IN_FLIGHT["EmbedText"]
    return [
        _row(f"service, full size, texts, {callers} in flight", batch, unary, offline, a_text),
        _row("service, full size, a bulk stream of texts", batch, stream, offline, a_text),
    ]


def _image_rows(unary: Rates, offline: Rates) -> list[Row]:
    batch, callers = f"{IMAGES} images a batch", IN_FLIGHT["EmbedImage"]
    return [_row(f"service, full size, small pictures, {callers} in flight", batch, unary, offline, 1)]


def _row(what: str, batch: str, ours: Rates, alone: Rates, item: float) -> Row:
    """item: the work of one."""
    return Row(
        what,
        f"the engine alone, offline, {batch}",
        ratios(ours, alone),
        bar=0.97,
        facts={"items/s": float(np.median(ours)) / item, "alone, items/s": float(np.median(alone)) / item},
    )


async def _stream(address: str, texts: Sequence[str]) -> float:
    async with AsyncClient(address) as client:
        started = time.perf_counter()
        count = 0
        async for result in client.embed_stream(texts):
            assert result.embeddings is not None
            count += 1
        assert count == len(texts)
        return time.perf_counter() - started


def _offline_texts(encoder: Encoder, ids: Sequence[Ids]) -> float:
    started = time.perf_counter()
    batch: list[Ids] = []
    for sequence in ids:
        if sum(map(len, batch)) + len(sequence) > TOKENS:
            encoder.text(batch)()
            batch = []
        batch.append(sequence)
    encoder.text(batch)()
    return time.perf_counter() - started


def _offline_images(encoder: Encoder, pixels: Sequence[Pixels]) -> float:
    started = time.perf_counter()
    for first in range(0, len(pixels), IMAGES):
        encoder.image(pixels[first : first + IMAGES])()
    return time.perf_counter() - started
