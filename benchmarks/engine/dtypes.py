"""bfloat16 and int8 on a CPU against float32: how much faster at full size, and what it costs in likeness and
in what is found.

Speed is the full-size model's, with random weights; its cosine is measured, but random weights have none of
the outliers of learnt ones. What accuracy is worth is the bundled model's, on the pictures of the demo.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.engine.cpu import image_work, peak, text_work
from benchmarks.full_size import full_size_model, photographs, texts
from benchmarks.inputs import NAMES
from benchmarks.machine import machine
from benchmarks.report import Found, Row, ratios
from benchmarks.rounds import measured
from worker.arrays import Floats, Ids, Pixels
from worker.families import Encoder, family
from worker.models.sources import resolve
from worker.runtime.cores import usable_cores
from worker.spec import ALL_LANGUAGES, ModelSpec

__all__ = ["found"]

TEXTS, IMAGES = 64, 4
BFLOAT16 = {"texts": 1.9, "images": 1.9}
WITH_VNNI = {"texts": 3.2, "images": 2.8, "one text": 0.3}
WITH_AVX2 = {"texts": 1.5, "images": 1.4, "one text": 0.45}
"""The bars: what int8 is worth depends on whether the processor has instructions for it."""
LEAST_COSINE = {
    "bfloat16": {"texts": 0.9999, "images": 0.9998},
    "int8": {"texts": 0.9995, "images": 0.9995},
}
Times = Sequence[float]
Cosines = npt.NDArray[np.float64]


def found(rounds: int = 5, parent: Path = Path("build")) -> Found:
    """Rows of each dtype that this processor multiplies, both encoders at once: they share the embeddings'
    pages, not the layers'."""
    torch.set_num_threads(usable_cores())
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    with full_size_model(parent) as spec:
        exact = _encoder(spec, "float32")
        for dtype in ("bfloat16", "int8"):
            # int8 has kernels for any x86; bfloat16 without instructions of its own is slower than float32.
            if dtype == "bfloat16" and dtype not in exact.info.native_dtypes:
                skipped["bfloat16 against float32"] = "this processor does not multiply bfloat16"
                continue
            smaller = _encoder(spec, dtype)
            rows += [*_speed(dtype, exact, smaller, rounds), *_likeness(dtype, exact, smaller)]
            if dtype == "bfloat16":
                rows += _of_peak(smaller, rounds)
            rows += _accuracy(dtype)
    return Found(rows, skipped)


def _speed(dtype: str, exact: Encoder, smaller: Encoder, rounds: int) -> list[Row]:
    batch, images = texts(TEXTS, 0), photographs(IMAGES, 0)
    short = [np.array([0, 9, 8, 7, 6, 2], np.int32)]

    def text(encoder: Encoder, ids: list[Ids]) -> Callable[[], float]:
        return lambda: _seconds(lambda: encoder.text(ids)())

    def image(encoder: Encoder) -> Callable[[], float]:
        return lambda: _seconds(lambda: encoder.image(images)())

    bars = _bars(dtype)

    def made(
        texts32: Times, texts_now: Times, images32: Times, images_now: Times, one32: Times, one_now: Times
    ) -> list[Row]:
        in_turn = (("texts", TEXTS, texts32, texts_now), ("images", IMAGES, images32, images_now))
        return [
            *(
                Row(
                    f"{dtype}, {kind}/s, full size",
                    "float32",
                    ratios(before, now),
                    bar=bars[kind],
                    facts={f"{kind}/s": count / float(np.median(now))},
                )
                for kind, count, before, now in in_turn
            ),
            Row(
                f"{dtype}, time of one text of 6 tokens, full size",
                "float32",
                ratios(one_now, one32),
                bar=bars.get("one text"),
                at_most=True,
                facts={
                    "milliseconds": float(np.median(one_now)) * 1e3,
                    "float32": float(np.median(one32)) * 1e3,
                    "seconds to load": smaller.info.load_seconds,
                },
            ),
        ]

    return measured(
        made,
        text(exact, batch),
        text(smaller, batch),
        image(exact),
        image(smaller),
        text(exact, short),
        text(smaller, short),
        rounds=rounds,
    )


def _bars(dtype: str) -> Mapping[str, float]:
    if dtype == "bfloat16":
        return BFLOAT16
    instructions = machine()["instructions"]
    return WITH_VNNI if "vnni" in instructions or "amx_int8" in instructions else WITH_AVX2


def _likeness(dtype: str, exact: Encoder, smaller: Encoder) -> list[Row]:
    """The least cosine of an item's two embeddings."""
    batch, images = texts(TEXTS, 0), photographs(IMAGES, 0)
    cosines = {
        "texts": _cosines(smaller.text(batch)(), exact.text(batch)()),
        "images": _cosines(smaller.image(images)(), exact.image(images)()),
    }
    return [
        Row(
            f"{dtype}, least cosine of {kind}, full size",
            "float32",
            [float(these.min())],
            bar=LEAST_COSINE[dtype][kind],
            worst=True,
            facts={kind: len(these), **_said(these)},
        )
        for kind, these in cosines.items()
    ]


def _of_peak(encoder: Encoder, rounds: int) -> list[Row]:
    """What bfloat16 gets of what this machine multiplies in it, useful tokens only."""
    batch, images = texts(TEXTS, 0), photographs(IMAGES, 0)
    works = {"text, packed, mixed lengths": sum(map(text_work, map(len, batch)))}
    works["image"] = IMAGES * image_work()

    def made(first: Times, of_texts: Times, second: Times, of_images: Times, third: Times) -> list[Row]:
        def share(work: float, before: Times, seconds: Times, after: Times) -> list[float]:
            return [work / took / ((a + b) / 2) for a, took, b in zip(before, seconds, after, strict=True)]

        around = ((first, of_texts, second), (second, of_images, third))
        return [
            Row(
                f"engine, {what}, bfloat16",
                "matrix-multiply peak in bfloat16",
                share(work, *times),
                facts={"peak GFLOP/s": float(np.median(first)) / 1e9},
            )
            for (what, work), times in zip(works.items(), around, strict=True)
        ]

    at_most = functools.partial(peak, torch.bfloat16)
    return measured(
        made,
        at_most,
        lambda: _seconds(lambda: encoder.text(batch)()),
        at_most,
        lambda: _seconds(lambda: encoder.image(images)()),
        at_most,
        rounds=rounds,
    )


def _accuracy(dtype: str) -> list[Row]:
    """The bundled model, asked for the demo's pictures by their names in nine languages."""
    spec = resolve("bundled=bundled")
    words, pixels = _named_pictures(spec)
    encoders = (_encoder(spec, "float32"), _encoder(spec, dtype))
    exact, smaller = ((e.text(words)(), e.image(pixels)()) for e in encoders)
    recall, recall_now = _recall(*exact), _recall(*smaller)
    likeness = np.concatenate([_cosines(a, b) for a, b in zip(smaller, exact, strict=True)])
    return [
        Row(
            f"{dtype}, bundled model, names whose picture is found first",
            "float32",
            [recall_now / recall],
            facts={dtype: recall_now, "float32": recall, "names": len(words), **_said(likeness)},
        )
    ]


def _encoder(spec: ModelSpec, dtype: str) -> Encoder:
    """Warm."""
    encoder = family("altclip").load(spec, "cpu", dtype, 0)
    encoder.warm_up()
    return encoder


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
