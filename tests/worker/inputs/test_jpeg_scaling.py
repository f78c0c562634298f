"""What the JPEG decoder scales down gets nearly the same embedding from the bundled model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.worker.families.comparing import cosine
from tests.worker.inputs.pictures import saved
from worker.families import family
from worker.inputs.images import ImagePreparer
from worker.models.sources import resolve_all


def photograph(seed: int, width: int, height: int) -> bytes:
    """Soft shades, sharp edges and grain, as a camera would store them."""
    generator = np.random.default_rng(seed)
    image = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height))
    grain = generator.normal(0, 12, (height, width, 3))
    image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = (int(generator.integers(0, edge)) for edge in (width, height))
        radius = int(generator.integers(height // 40, height // 4))
        red, green, blue = (int(value) for value in generator.integers(0, 256, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
    return saved(image, "JPEG", quality=90)


@pytest.mark.parametrize("size", [(400, 300), (1024, 768), (1333, 1001), (2048, 1365)])
def test_embeddings_of_scaled_jpegs_are_within_cosine_0_999(size: tuple[int, int]) -> None:
    (spec,) = resolve_all(())
    kind = family(spec.model_type)
    exact = kind.image_processor(spec)
    fast = ImagePreparer(exact.preprocessing, 1 << 22, fast=True)
    files = [photograph(seed, *size) for seed in range(4)]
    encoder = kind.load(spec, "cpu", "float32", 2)
    ours = encoder.image([fast.prepare(file) for file in files])()
    assert cosine(ours, encoder.image([exact.prepare(file) for file in files])()) >= 0.999
