"""The schedule's shape: rates rise, stay and fall to zero; style changes and more of a picture come later."""

import pytest

from training.learning.picture_stage import patches_at, strength_at
from training.learning.stage import rate_at
from training.recipe import Schedule, Stage

SCHEDULE = Schedule()
PICTURES = SCHEDULE.pictures


@pytest.mark.parametrize("stage", [SCHEDULE.pictures, SCHEDULE.texts], ids=["pictures", "texts"])
def test_the_rate_warms_up_stays_and_falls_to_zero(stage: Stage) -> None:
    assert 0 < rate_at(0, stage) < 0.1
    assert rate_at(stage.warmup, stage) == 1.0
    assert rate_at(stage.steps - stage.cooldown, stage) == 1.0
    assert 0 < rate_at(stage.steps - 1, stage) < 0.01


def test_pictures_are_varied_in_style_only_after_the_start() -> None:
    first, last = PICTURES.style_ramp
    assert strength_at(first, PICTURES) == 0.0
    assert 0.0 < strength_at((first + last) // 2, PICTURES) < strength_at(last, PICTURES) == 1.0


def test_the_vision_tower_sees_more_of_a_picture_as_it_learns() -> None:
    assert patches_at(0, PICTURES) == PICTURES.first_patches
    assert patches_at(PICTURES.first_steps, PICTURES) == PICTURES.kept_patches > PICTURES.first_patches
