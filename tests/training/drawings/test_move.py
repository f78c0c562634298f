"""Pictures are mirrored and turned far only where that is allowed, and hardly moved at the start."""

import pytest
import torch

from training.drawings.move import WIDEST_TURN, Freedom, move

COUNT = 300


def moved(mirrored: bool, turned: bool, strength: float) -> torch.Tensor:
    """An opaque bar along the left of the middle, moved many times: alpha [COUNT, 64, 64]."""
    pictures = torch.zeros(COUNT, 4, 64, 64)
    pictures[:, :, 12:52, 20:26] = 1
    freedom = Freedom(torch.full((COUNT,), mirrored), torch.full((COUNT,), turned))
    return move(pictures, freedom, strength, torch.Generator().manual_seed(1))[:, 3]


def slants(alpha: torch.Tensor) -> torch.Tensor:
    """By how many degrees each bar leans, from the second moments of its ink."""
    places = torch.arange(64.0)
    weight = alpha.sum(dim=(1, 2))
    across = (alpha * places).sum(dim=(1, 2)) / weight
    down = (alpha * places[:, None]).sum(dim=(1, 2)) / weight
    x, y = places - across[:, None, None], places[:, None] - down[:, None, None]
    mixed, width, height = ((alpha * each).sum(dim=(1, 2)) for each in (x * y, x * x, y * y))
    return torch.rad2deg(0.5 * torch.atan2(2 * mixed, height - width)).abs()


def right_of_the_middle(alpha: torch.Tensor) -> int:
    """How many bars lie more than eight pixels to the right of where they were drawn."""
    across = (alpha * torch.arange(64.0)).sum(dim=(1, 2)) / alpha.sum(dim=(1, 2))
    return int((across > 36).sum())


def test_what_may_be_mirrored_is_now_and_then() -> None:
    assert 40 < right_of_the_middle(moved(mirrored=True, turned=False, strength=1.0)) < COUNT / 2


def test_what_may_not_be_mirrored_never_is() -> None:
    assert right_of_the_middle(moved(mirrored=False, turned=False, strength=1.0)) == 0


@pytest.mark.parametrize(("turned", "least", "most"), [(True, 30, WIDEST_TURN), (False, 5, 20)])
def test_only_what_may_be_turned_is_turned_far(turned: bool, least: float, most: float) -> None:
    # Bending a bar makes a few lean on their own.
    assert least < slants(moved(mirrored=False, turned=turned, strength=1.0)).quantile(0.97) < most


def test_at_the_start_pictures_are_only_moved_lightly() -> None:
    alpha = moved(mirrored=True, turned=True, strength=0.0)
    assert right_of_the_middle(alpha) == 0
    assert slants(alpha).max() < 5
