"""Bulk jobs with the full-size model, Parquet in and Parquet out: against the engine alone, offline, and
against the loop that one would write with transformers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks import inputs
from benchmarks.bulk.jobs import job, offline_texts, table_of_texts
from benchmarks.full_size import full_size_model
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import start_server
from worker.families import family
from worker.runtime.cores import usable_cores
from worker.spec import ModelSpec

__all__ = ["rows"]

TOKENS, IMAGES = 512, 4
"""What a batch may hold, in the service and offline."""
TEXTS, PICTURES = 512, 24
"""So many texts that the start and the end of a job, a quarter of a second to half a one, are under a
fortieth of it also where a machine is fast: real jobs are far longer."""
LOOP_TEXTS, LOOP_IMAGES = 32, 4
"""A batch of transformers' loop."""


def rows(rounds: int = 3, parent: Path = Path("build")) -> list[Row]:
    """Four rows: texts and images, against each of the two."""
    torch.set_num_threads(usable_cores())
    texts, pictures = inputs.texts(TEXTS, 0), inputs.jpegs(PICTURES, 0, inputs.SMALL)
    with full_size_model(parent) as spec, TemporaryDirectory(prefix="bulk-", dir=parent) as folder:
        words = table_of_texts(Path(folder) / "texts.parquet", texts)
        images = Path(folder) / "images.parquet"
        pq.write_table(pa.table({"image": pa.array(pictures)}), images)
        kind = family("altclip")
        encoder = kind.load(spec, "cpu", "float32", 0)
        encoder.warm_up()
        ids = [tokens.ids for tokens in kind.tokenizer(spec).encode(texts)]
        preparer = kind.image_processor(spec)
        pixels = [preparer.prepare(picture) for picture in pictures]

        def offline_images() -> float:
            started = time.perf_counter()
            for first in range(0, len(pixels), IMAGES):
                encoder.image(pixels[first : first + IMAGES])()
            return len(pixels) / (time.perf_counter() - started)

        loop = Loop(spec)
        with start_server(
            *("--model", f"full-size={spec.directory}", "--dtype", "float32"),
            *("--batch-tokens", str(TOKENS), "--batch-images", str(IMAGES)),
        ) as server:
            job(server, words, "text")()  # meanwhile the worker reads its weights again, for their checksum
            of_texts = measured(
                partial(_rows_of, f"{TEXTS} texts", "texts/s", 3.0),
                job(server, words, "text"),
                offline_texts(encoder, ids, TOKENS),
                loop.of(words, "text"),
                rounds=rounds,
            )
            of_images = measured(
                partial(_rows_of, f"{PICTURES} small JPEGs", "images/s", 1.2),
                job(server, images, "image"),
                offline_images,
                loop.of(images, "image"),
                rounds=rounds,
            )
    return [*of_texts, *of_images]


def _rows_of(
    items: str, rate: str, bar: float, here: list[float], alone: list[float], there: list[float]
) -> list[Row]:
    """bar: how much faster than the loop the job shall be."""
    return [
        _row(f"bulk job, full size, {items}", "the engine alone, offline", here, alone, 0.97),
        _row(f"bulk job, full size, {rate}", "a loop with transformers", here, there, bar),
    ]


def _row(what: str, against: str, ours: list[float], theirs: list[float], bar: float) -> Row:
    return Row(
        what,
        against,
        ratios(ours, theirs),
        bar=bar,
        facts={"ours, rows/s": float(np.median(ours)), "theirs, rows/s": float(np.median(theirs))},
    )


class Loop:
    """Reads Parquet, embeds batches in the order of the file with transformers, writes Parquet."""

    def __init__(self, spec: ModelSpec) -> None:
        from benchmarks.engine.cpu import transformers_model
        from benchmarks.peers.model import Prepare

        self._model = transformers_model(spec)
        self._prepare = Prepare(spec.directory)

    def of(self, source: Path, column: str) -> Callable[[], float]:
        """Runs it over a file and gives its rows a second."""
        embed, size = (self._texts, LOOP_TEXTS) if column == "text" else (self._images, LOOP_IMAGES)

        def run() -> float:
            started = time.perf_counter()
            table = pq.read_table(source)
            values = table.column(column).to_pylist()
            rows = [embed(values[first : first + size]) for first in range(0, len(values), size)]
            vectors = np.concatenate(rows)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
            pq.write_table(table.append_column("embedding", lists), source.with_suffix(".loop"))
            return len(values) / (time.perf_counter() - started)

        return run

    @torch.inference_mode()
    def _texts(self, texts: list[str]) -> Any:
        return _rows(self._model.get_text_features(**self._prepare.texts(texts)))

    @torch.inference_mode()
    def _images(self, files: list[bytes]) -> Any:
        pixels = torch.stack([self._prepare.image(content) for content in files])
        return _rows(self._model.get_image_features(pixel_values=pixels))


def _rows(output: Any) -> Any:
    found = getattr(output, "pooler_output", output)
    return (found / found.norm(dim=-1, keepdim=True)).numpy()
