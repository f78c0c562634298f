"""The logit scale makes probabilities as sure as they are right."""

import math

import pytest
import torch

from training.measuring.calibration import likeliest_scale


@pytest.mark.parametrize("log_scale", [2.0, 3.4])
def test_the_scale_that_made_the_answers_is_found(log_scale: float) -> None:
    chance = torch.Generator().manual_seed(1)
    cosines = torch.rand(4000, 10, generator=chance)
    odds = (math.exp(log_scale) * cosines).softmax(dim=-1)
    labels = torch.multinomial(odds, 1, generator=chance)[:, 0]
    assert likeliest_scale([cosines], [labels]) == pytest.approx(log_scale, abs=0.06)


def test_every_list_weighs_alike_however_long() -> None:
    sure, unsure = torch.eye(3), torch.full((30, 3), 0.5)
    right = torch.arange(3)
    wrong = torch.arange(30) % 3
    assert likeliest_scale([sure, unsure], [right, wrong]) > 4.5
    mistaken = torch.eye(3)[[1, 2, 0]]
    assert likeliest_scale([sure, mistaken], [right, right]) < 1.1
