"""int8 and bfloat16 against float32 on the same weights: near, and as good at what embeddings are for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demo.pictures import FOLDER as PICTURES
from tests.checkpoints import TEXTS
from tests.worker.families.comparing import Side, cosine
from worker.errors import ModelError
from worker.families import family
from worker.families.altclip.int8 import require_int8
from worker.models.sources import bundled_directory
from worker.spec import ALL_LANGUAGES

LEAST = {"small": (0.999, 0.998), "bundled": (0.998, 0.997)}
"""Least cosines of int8's embeddings and prompt states to float32's. The bundled model's text tower is so
small that long texts unlike its own differ by more; what its embeddings are for is held below, by what they
find."""


@pytest.fixture(scope="module", params=[*LEAST])
def sides(request: pytest.FixtureRequest, checkpoints: Callable[..., Path]) -> tuple[Side, Side]:
    """float32 and int8."""
    directory = bundled_directory() if request.param == "bundled" else checkpoints(size=request.param)
    return Side(directory), Side(directory, "int8")


def test_embeddings_and_prompt_states_stay_near_float32(
    sides: tuple[Side, Side], request: pytest.FixtureRequest
) -> None:
    exact, rounded = sides
    embeddings, states = LEAST[request.node.callspec.params["sides"]]
    size = exact.spec.image_size
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    assert rounded.encoder.info.dtype == "int8"
    assert cosine(rounded.text(TEXTS), exact.text(TEXTS)) >= embeddings
    assert cosine(rounded.encoder.image([image])(), exact.encoder.image([image])()) >= 0.999
    for variant in (0, 1):
        variants = [variant] * len(TEXTS)
        assert cosine(rounded.prompt(TEXTS, variants), exact.prompt(TEXTS, variants)) >= states


def test_a_text_is_rounded_by_itself_whoever_shares_its_batch(sides: tuple[Side, Side]) -> None:
    _, rounded = sides
    together = rounded.text(TEXTS)
    for number, text in enumerate(TEXTS):
        assert cosine(rounded.text([text])[0], together[number]) >= 0.99999


def test_its_weights_are_counted_in_the_bytes_that_they_take(sides: tuple[Side, Side]) -> None:
    exact, rounded = (side.encoder.info for side in sides)
    assert rounded.parameters == exact.parameters
    assert exact.weights_bytes / 4 < rounded.weights_bytes < exact.weights_bytes


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_bundled_model_finds_as_many_of_the_demos_pictures(dtype: str) -> None:
    exact, rounded = Side(bundled_directory()), Side(bundled_directory(), dtype)
    for side in (exact, rounded):
        side.encoder.warm_up()
    named = json.loads((PICTURES / "names.json").read_text(encoding="utf-8"))
    names = [entry["names"][language] for language in ALL_LANGUAGES for entry in named]
    processor = exact.family.image_processor(exact.spec)
    pixels = [processor.prepare((PICTURES / entry["file"]).read_bytes()) for entry in named]

    def found(side: Side) -> float:
        pictures = side.encoder.image(pixels)()
        pictures = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
        best = (side.text(names) @ pictures.T).argmax(1)
        return float(np.mean(best == np.arange(len(names)) % len(named)))

    assert found(exact) > 0.9
    assert found(rounded) >= found(exact) - 0.01


def test_a_cuda_device_is_refused() -> None:
    with pytest.raises(ModelError, match="int8 is for CPUs"):
        require_int8("cuda:0")


@pytest.mark.full_size
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("dtype", "of_texts", "of_images"), [("bfloat16", 0.9999, 0.9998), ("int8", 0.9995, 0.9995)]
)
def test_at_full_size_random_weights_stay_near(
    tmp_path: Path, dtype: str, of_texts: float, of_images: float
) -> None:
    from benchmarks.full_size import full_size_model, photographs, texts

    ids, pixels = texts(16, 0), photographs(2, 0)
    with full_size_model(tmp_path) as spec:
        found = []
        for each in ("float32", dtype):
            encoder = family("altclip").load(spec, "cpu", each, 0)
            encoder.warm_up()
            found.append((encoder.text(ids)(), encoder.image(pixels)()))
    (texts32, images32), (rounded_texts, rounded_images) = found
    assert cosine(rounded_texts, texts32) >= of_texts
    assert cosine(rounded_images, images32) >= of_images
