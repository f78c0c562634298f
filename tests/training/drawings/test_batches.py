"""Batches of training pictures: the same for the same step, from every look, icons in their share."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from training.drawings.batches import TrainingPictures
from training.drawings.rasterise import plane_path
from training.recipe import PictureStage
from training.sources.looks import Look

EMOJI = Look("emoji", "1", "colour")
PHOTOS = Look("photos", "1", "painted")
ICONS = Look("icons", "1", "ink", icons=True)
GREY = {"emoji": 50, "photos": 250, "icons": 0}


@pytest.fixture
def pictures(tmp_path: Path) -> TrainingPictures:
    """Three concepts: the first drawn by all looks, the second by icons alone, the third painted."""
    drawn = {EMOJI: [0], PHOTOS: [0, 2], ICONS: [0, 0, 1]}
    for look, labels in drawn.items():
        plane_path(tmp_path, look.name, "labels").parent.mkdir(parents=True)
        np.save(plane_path(tmp_path, look.name, "labels"), np.array(labels))
        colour = np.full((len(labels), 64, 64, 4), GREY[look.name], dtype=np.uint8)
        colour[..., 3] = 255
        one = np.full((len(labels), 64, 64), 255, dtype=np.uint8)
        planes = {"plain": colour, "flat": colour, "thin": one, "thick": one, "ink": one, "filled": one}
        for name, pixels in planes.items():
            np.save(plane_path(tmp_path, look.name, name), pixels)
    stage = PictureStage(icon_share=0.5, drawn_share=1.0)
    fixed = torch.zeros(3, 2, dtype=torch.bool)
    return TrainingPictures(tmp_path, tuple(drawn), fixed, stage, torch.device("cpu"))


def batch(pictures: TrainingPictures, labels: list[int], step: int) -> torch.Tensor:
    return pictures.batch(labels, 0.0, random.Random(step), torch.Generator().manual_seed(step))


def test_every_concept_that_any_look_draws_can_be_learned(pictures: TrainingPictures) -> None:
    assert pictures.labels == [0, 1, 2]
    assert batch(pictures, [0, 1, 2], 1).shape == (3, 3, 64, 64)


def test_a_step_sees_the_same_pictures_again(pictures: TrainingPictures) -> None:
    assert torch.equal(batch(pictures, [0] * 8, 3), batch(pictures, [0] * 8, 3))
    assert not torch.equal(batch(pictures, [0] * 8, 3), batch(pictures, [0] * 8, 4))


def test_icons_and_emoji_take_their_shares_of_a_concept(pictures: TrainingPictures) -> None:
    middles = batch(pictures, [0] * 200, 5)[:, 0, 32, 32]
    seen = {
        name: int((middles - (GREY[name] / 255 - 0.48145466) / 0.26862954).abs().lt(1e-4).sum())
        for name in ("emoji", "photos")
    }
    of_icons = len(middles) - sum(seen.values())  # some dark colour each
    assert 70 <= of_icons <= 130
    assert min(seen.values()) > 20
