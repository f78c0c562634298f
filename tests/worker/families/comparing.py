"""Models to compare, and how rows are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.reference import Reference
from worker.arrays import Floats, Pixels
from worker.families import Encoder, family
from worker.models.sources import resolve
from worker.spec import ModelSpec

__all__ = ["Side", "assert_close", "cosine"]


class Side:
    """One checkpoint, loaded by us and by transformers."""

    def __init__(self, directory: Path, dtype: str = "float32", kernels: str = "auto") -> None:
        self.spec: ModelSpec = resolve(f"m={directory}")
        self.family = family("altclip")
        self.encoder: Encoder = self.family.load(self.spec, "cpu", dtype, 2, kernels)
        self.reference = Reference(directory)
        self.tokenizer = self.family.tokenizer(self.spec)

    def text(self, texts: list[str]) -> Floats:
        return self.encoder.text([tokens.ids for tokens in self.tokenizer.encode(texts)])()

    def prompt(self, texts: list[str], variants: list[int]) -> Floats:
        return self.encoder.prompt([tokens.ids for tokens in self.tokenizer.encode(texts)], variants)()

    def pixels(self, image: Image.Image) -> Pixels:
        size = self.spec.image_size
        return np.asarray(image.resize((size, size)).convert("RGB"))


def cosine(ours: Floats, theirs: Floats) -> float:
    """The smallest cosine between rows of two [..., width] arrays."""
    a, b = (np.asarray(x, np.float64).reshape(-1, x.shape[-1]) for x in (ours, theirs))
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def assert_close(ours: Floats, theirs: Floats) -> None:
    """Equal to what single precision leaves after sums in another order."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
