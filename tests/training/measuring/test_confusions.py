"""Confusions are counted per pair of concepts, over all looks and languages, right answers not."""

import torch

from training.measuring.confusions import Confusion, confusions


def test_the_commonest_come_first_and_right_answers_are_none() -> None:
    right = torch.tensor([0, 1, 2, 3])
    english = (torch.tensor([0, 2, 1, 3]), right)
    chinese = (torch.tensor([0, 2, 2, 3]), right)
    assert confusions([english, chinese], most=5) == [Confusion(1, 2, 2), Confusion(2, 1, 1)]
    assert confusions([english, chinese], most=1) == [Confusion(1, 2, 2)]
