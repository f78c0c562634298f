"""Recall on toys whose answer is plain."""

import torch

from training.measuring.metrics import ranks, recall_at


def test_the_right_candidate_first_is_rank_zero() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert ranks(similarity, torch.tensor([0, 1, 2])).tolist() == [0, 1, 2]


def test_a_tie_does_not_flatter() -> None:
    assert ranks(torch.tensor([[0.5, 0.5]]), torch.tensor([0])).tolist() == [1]


def test_recall_counts_who_is_among_the_first_k() -> None:
    place = torch.tensor([0, 3, 7, 50])
    assert recall_at(place) == {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0}
