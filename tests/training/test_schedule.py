"""The schedule's shape: warm-up, constant rate, a fall to zero; strong augmentation only later."""

from training.recipe import Schedule
from training.train import rate_at, strength_at

SCHEDULE = Schedule()


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    assert rate_at(0, SCHEDULE) < 0.01
    assert rate_at(SCHEDULE.warmup_steps, SCHEDULE) == 1.0
    assert rate_at(SCHEDULE.steps - SCHEDULE.cooldown_steps, SCHEDULE) == 1.0
    assert 0 < rate_at(SCHEDULE.steps - 1, SCHEDULE) < 0.01


def test_pictures_are_varied_in_style_only_after_the_start() -> None:
    first, last = SCHEDULE.style_ramp
    assert strength_at(first, SCHEDULE) == 0.0
    assert 0.0 < strength_at((first + last) // 2, SCHEDULE) < strength_at(last, SCHEDULE) == 1.0


def test_the_cool_down_lies_in_the_second_stage() -> None:
    assert SCHEDULE.whole_picture_steps <= SCHEDULE.cooldown_steps <= SCHEDULE.contrastive_steps
