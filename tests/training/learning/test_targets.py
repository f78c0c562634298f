"""What texts learn from tells every concept's pictures apart better than their means do."""

import torch
from torch.nn.functional import cross_entropy, normalize

from training.learning.targets import SCALE, mean_directions, telling_directions

CONCEPTS, PICTURES, WIDTH = 30, 6, 16


def crowded_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of concepts in pairs that lie close together, all of them in one corner of the space."""
    chance = torch.Generator().manual_seed(0)
    pairs = torch.randn(CONCEPTS // 2, WIDTH, generator=chance).repeat_interleave(2, dim=0)
    own = pairs + 0.4 * torch.randn(CONCEPTS, WIDTH, generator=chance) + 2
    pictures = own.repeat_interleave(PICTURES, dim=0)
    pictures = pictures + 0.25 * torch.randn(pictures.shape, generator=chance)
    return normalize(pictures, dim=-1), torch.arange(CONCEPTS).repeat_interleave(PICTURES)


def test_means_are_of_the_concepts_own_pictures() -> None:
    pictures = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), dim=-1)
    means = mean_directions(pictures, torch.tensor([0, 0, 1]), 2)
    assert torch.allclose(means, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


def test_pictures_are_told_apart_better_than_by_their_means() -> None:
    pictures, labels = crowded_pictures()
    means = mean_directions(pictures, labels, CONCEPTS)
    telling = telling_directions(pictures, labels, CONCEPTS)
    assert torch.allclose(telling.norm(dim=-1), torch.ones(CONCEPTS))
    losses = [cross_entropy(SCALE * pictures @ each.T, labels).item() for each in (means, telling)]
    assert losses[1] < 0.7 * losses[0]
