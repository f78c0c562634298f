"""Moves training pictures: place, size, direction, proportions, and mirrored where that changes no meaning.

Sets of drawings differ most in this: one draws a knife lying, the next upright; one a raccoon that looks
left, the next one that looks right; one a whole koala, the next only its head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

MIRRORED_SHARE = 0.35
TURNED_SHARE = 0.35
WIDEST_TURN = 45.0
"""Degrees."""
BENT_SHARE = 0.5
BEND = 0.06
"""The standard deviation, in halves of the picture's side, of how far the parts of a bent picture move."""


@dataclass(frozen=True)
class Freedom:
    """Per picture whether it may be mirrored, and whether it may be turned far: bool [batch], on the CPU."""

    mirrored: Tensor
    turned: Tensor


def uniform(count: int, low: float, high: float, chance: Generator) -> Tensor:
    """[count] numbers between low and high."""
    return low + (high - low) * torch.rand(count, generator=chance)


def move(pictures: Tensor, freedom: Freedom, strength: float, chance: Generator) -> Tensor:
    """[batch, 4, 64, 64], each moved at random; at strength 0 only lightly."""
    count = len(pictures)
    turned = freedom.turned & (torch.rand(count, generator=chance) < TURNED_SHARE * strength)
    mirrored = freedom.mirrored & (torch.rand(count, generator=chance) < MIRRORED_SHARE * strength)
    most = torch.where(turned, WIDEST_TURN, 4 + 6 * strength)
    angle = torch.deg2rad(most * uniform(count, -1, 1, chance))
    scale = uniform(count, 0.92 - 0.4 * strength, 1.08 + 0.1 * strength, chance)
    stretch = torch.exp(uniform(count, -0.2, 0.2, chance) * strength)
    shear = uniform(count, -0.12, 0.12, chance) * strength
    shift = torch.stack([uniform(count, -0.1, 0.1, chance), uniform(count, -0.1, 0.1, chance)], dim=1)
    across = torch.where(mirrored, -1.0, 1.0)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack(
        [
            torch.stack([across * cosine * stretch, across * (-sine + shear), shift[:, 0] * scale], dim=1),
            torch.stack([sine, cosine / stretch, shift[:, 1] * scale], dim=1),
        ],
        dim=1,
    ) / scale.view(-1, 1, 1)
    grid = F.affine_grid(matrix.to(pictures.device), list(pictures.shape), align_corners=False)
    if strength > 0:
        bent = (torch.rand(count, generator=chance) < BENT_SHARE * strength).view(-1, 1, 1, 1)
        parts = BEND * bent * torch.randn(count, 2, 4, 4, generator=chance)
        bend = F.interpolate(
            parts.to(grid), size=list(pictures.shape[2:]), mode="bilinear", align_corners=True
        )
        grid = grid + bend.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
