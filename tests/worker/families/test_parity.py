"""Our forward against transformers' own, on the same weights: the numbers must be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from tests.checkpoints import SIZES, TEXTS, Size
from tests.worker.families.comparing import Side, assert_close, cosine
from worker.families import family
from worker.families.altclip.encoder import AltClipEncoder
from worker.models.sources import resolve

Checkpoints = Callable[..., Path]
SMALL_SIZES = [size for size in SIZES if size != "full"]


@pytest.fixture(scope="module", params=SMALL_SIZES)
def side(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> Side:
    return Side(checkpoints(size=cast(Size, request.param)))


def test_a_mixed_batch_of_texts_equals_the_reference_in_order(side: Side) -> None:
    ours, theirs = side.text(TEXTS), side.reference.text(TEXTS)
    assert ours.dtype == np.float32
    assert cosine(ours, theirs) >= 0.99999
    assert_close(ours, theirs)


def test_a_text_alone_and_in_pairs_is_what_it_is_in_a_full_batch(side: Side) -> None:
    together = side.text(TEXTS)
    for number, text in enumerate(TEXTS):
        other = TEXTS[number - 1]
        assert_close(side.text([text])[0], together[number])
        assert_close(side.text([other, text]), together[[number - 1, number]])


def test_equal_texts_get_equal_rows_wherever_they_stand(side: Side) -> None:
    rows = side.text(["cat", "a photo of a cat", "cat", "", "cat"])
    assert_close(rows[[0, 2]], rows[[4, 4]])


def test_a_padding_token_inside_a_text_is_placed_as_the_reference_places_it(side: Side) -> None:
    texts = ["a photo<pad> of a <pad><pad> cat", "</s> one <s> two <mask>"]
    assert_close(side.text(texts), side.reference.text(texts))


def test_images_alone_and_together_equal_the_reference_in_order(side: Side) -> None:
    generator = np.random.default_rng(0)
    shapes = [(90, 120), (300, 80), (64, 64), (7, 200)]
    images = [Image.fromarray(generator.integers(0, 256, (*shape, 3), np.uint8)) for shape in shapes]
    size = side.spec.image_size
    exact = [image.resize((size, size)) for image in images]
    ours = side.encoder.image([np.asarray(image) for image in exact])()
    theirs = side.reference.image(exact)
    assert cosine(ours, theirs) >= 0.99999
    assert_close(ours, theirs)
    for number, image in enumerate(exact):
        assert_close(side.encoder.image([np.asarray(image)])()[0], ours[number])


@pytest.mark.parametrize("variant", [0, 1])
def test_all_77_prompt_states_equal_the_reference_padding_included(side: Side, variant: int) -> None:
    ours = side.prompt(TEXTS, [variant] * len(TEXTS))
    assert ours.shape == (len(TEXTS), 77, side.spec.state_dimension)
    theirs = side.reference.prompt(TEXTS, variant)
    assert cosine(ours, theirs) >= 0.99999
    assert_close(ours, theirs)


def test_one_batch_of_prompts_may_ask_for_both_kinds_of_states(side: Side) -> None:
    ours = side.prompt(["cat", "cat", "dog " * 100], [1, 0, 1])
    theirs = [side.reference.prompt([text], v)[0] for text, v in (("cat", 1), ("cat", 0), ("dog " * 100, 1))]
    assert_close(ours, np.stack(theirs))


def test_the_logit_scale_is_the_multiplier(side: Side) -> None:
    assert side.encoder.info.logit_scale == pytest.approx(
        side.reference.model.logit_scale.detach().exp().item()
    )


def test_a_checkpoint_written_by_convert_gives_the_same_rows_with_its_projections_joined(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    from worker.models.convert import convert

    plain = checkpoints(size="tiny")
    encoders = [
        cast(AltClipEncoder, family("altclip").load(resolve(f"m={directory}"), "cpu", "float32", 1))
        for directory in (plain, convert(str(plain), tmp_path / "converted"))
    ]
    ids = [np.array([0, 5, 6, 2], np.int32), np.array([0, 2], np.int32)]
    pixels = [np.full((32, 32, 3), 90, np.uint8)]
    joined = [encoder.joined_projections for encoder in encoders]
    assert joined == [0, 4]
    assert_close(encoders[0].text(ids)(), encoders[1].text(ids)())
    assert_close(encoders[0].image(pixels)(), encoders[1].image(pixels)())


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.995), ("float16", 0.9999)])
def test_half_precision_stays_near_the_reference(checkpoints: Checkpoints, dtype: str, least: float) -> None:
    side = Side(checkpoints(size="small"), dtype)
    assert side.encoder.info.dtype == dtype
    assert cosine(side.text(TEXTS), side.reference.text(TEXTS)) >= least
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    assert cosine(side.encoder.image([np.asarray(image)])(), side.reference.image([image])) >= least
    assert cosine(side.prompt(TEXTS, [0] * len(TEXTS)), side.reference.prompt(TEXTS, 0)) >= least


@pytest.mark.full_size
@pytest.mark.timeout(1800)
def test_at_full_size_text_image_and_prompt_equal_the_reference(tmp_path: Path) -> None:
    from tests.checkpoints import make_checkpoint

    side = Side(make_checkpoint(tmp_path / "full", size="full"))
    np.testing.assert_allclose(side.text(TEXTS), side.reference.text(TEXTS), rtol=1e-3, atol=2e-4)
    assert cosine(side.text(TEXTS), side.reference.text(TEXTS)) >= 0.99999
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8))
    assert cosine(side.encoder.image([np.asarray(image)] * 2)(), side.reference.image([image] * 2)) >= 0.99999
    for variant in (0, 1):
        ours, theirs = side.prompt(TEXTS[:4], [variant] * 4), side.reference.prompt(TEXTS[:4], variant)
        assert cosine(ours, theirs) >= 0.99999
