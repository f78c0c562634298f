"""int8 against float32: how much faster at full size, and what it costs in likeness and in what is found.

Speed is the full-size model's, with random weights; its cosine is reported, but random weights have none of
the outliers of learnt ones. What accuracy is worth is the bundled model's, on the pictures of the demo.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.full_size import full_size_model, photographs, texts
from benchmarks.inputs import NAMES
from benchmarks.machine import machine
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from worker.arrays import Floats, Ids, Pixels
from worker.families import Encoder, family
from worker.models.sources import resolve
from worker.runtime.cores import usable_cores
from worker.spec import ALL_LANGUAGES, ModelSpec

__all__ = ["rows"]

TEXTS, IMAGES = 64, 4
WITH_VNNI = {"texts": 3.2, "images": 2.8, "one text": 0.3}
WITH_AVX2 = {"texts": 1.5, "images": 1.4, "one text": 0.45}
"""The bars: what int8 is worth depends on whether the processor has instructions for it."""
Times = Sequence[float]
Cosines = npt.NDArray[np.float64]


def rows(rounds: int = 5, parent: Path = Path("build")) -> list[Row]:
    """Both encoders of the full-size model at once: they share the embeddings' pages, not the layers'."""
    torch.set_num_threads(usable_cores())
    with full_size_model(parent) as spec:
        return [*_speed(_encoders(spec), rounds), *_accuracy()]


def _speed(encoders: tuple[Encoder, Encoder], rounds: int) -> list[Row]:
    exact, rounded = encoders
    batch, images = texts(TEXTS, 0), photographs(IMAGES, 0)
    short = [np.array([0, 9, 8, 7, 6, 2], np.int32)]

    def text(encoder: Encoder, ids: list[Ids]) -> Callable[[], float]:
        return lambda: _seconds(lambda: encoder.text(ids)())

    def image(encoder: Encoder) -> Callable[[], float]:
        return lambda: _seconds(lambda: encoder.image(images)())

    text_cosine = _cosines(rounded.text(batch)(), exact.text(batch)())
    image_cosine = _cosines(rounded.image(images)(), exact.image(images)())
    instructions = machine()["instructions"]
    bars = WITH_VNNI if "vnni" in instructions or "amx_int8" in instructions else WITH_AVX2

    def made(
        texts32: Times, texts8: Times, images32: Times, images8: Times, one32: Times, one8: Times
    ) -> list[Row]:
        return [
            Row(
                "int8, texts/s, full size",
                "float32",
                ratios(texts32, texts8),
                bar=bars["texts"],
                facts={"texts/s": TEXTS / float(np.median(texts8)), **_said(text_cosine)},
            ),
            Row(
                "int8, images/s, full size",
                "float32",
                ratios(images32, images8),
                bar=bars["images"],
                facts={"images/s": IMAGES / float(np.median(images8)), **_said(image_cosine)},
            ),
            Row(
                "int8, time of one text of 6 tokens, full size",
                "float32",
                ratios(one8, one32),
                bar=bars["one text"],
                at_most=True,
                facts={
                    "milliseconds": float(np.median(one8)) * 1e3,
                    "float32": float(np.median(one32)) * 1e3,
                    "seconds to load": rounded.info.load_seconds,
                },
            ),
        ]

    return measured(
        made,
        text(exact, batch),
        text(rounded, batch),
        image(exact),
        image(rounded),
        text(exact, short),
        text(rounded, short),
        rounds=rounds,
    )


def _accuracy() -> list[Row]:
    """The bundled model, asked for the demo's pictures by their names in nine languages."""
    spec = resolve("bundled=bundled")
    words, pixels = _named_pictures(spec)
    exact, rounded = ((e.text(words)(), e.image(pixels)()) for e in _encoders(spec))
    recall, recall8 = _recall(*exact), _recall(*rounded)
    likeness = np.concatenate([_cosines(a, b) for a, b in zip(rounded, exact, strict=True)])
    return [
        Row(
            "int8, bundled model, names whose picture is found first",
            "float32",
            [recall8 / recall],
            facts={"int8": recall8, "float32": recall, "names": len(words), **_said(likeness)},
        )
    ]


def _encoders(spec: ModelSpec) -> tuple[Encoder, Encoder]:
    """float32 and int8, warm."""
    exact, rounded = (family("altclip").load(spec, "cpu", dtype, 0) for dtype in ("float32", "int8"))
    exact.warm_up()
    rounded.warm_up()
    return exact, rounded


def _named_pictures(spec: ModelSpec) -> tuple[list[Ids], list[Pixels]]:
    """The names, language after language, each time in the order of the pictures."""
    altclip, named = family("altclip"), json.loads(NAMES.read_text(encoding="utf-8"))
    names = [entry["names"][language] for language in ALL_LANGUAGES for entry in named]
    words = [tokens.ids for tokens in altclip.tokenizer(spec).encode(names)]
    processor = altclip.image_processor(spec)
    return words, [processor.prepare((NAMES.parent / entry["file"]).read_bytes()) for entry in named]


def _recall(words: Floats, pictures: Floats) -> float:
    """The share of names whose own picture is the likest of all."""
    scores = words @ (pictures / np.linalg.norm(pictures, axis=1, keepdims=True)).T
    return float(np.mean(scores.argmax(1) == np.arange(len(words)) % len(pictures)))


def _cosines(ours: Floats, theirs: Floats) -> Cosines:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    found: Cosines = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return found


def _said(cosines: Cosines) -> dict[str, float | str]:
    return {"least cosine": f"{cosines.min():.5f}", "mean cosine": f"{cosines.mean():.5f}"}


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
