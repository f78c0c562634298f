"""Drawings take on other looks: what is left of each, and what is added."""

import torch

from training.drawings.compose import INK, KINDS, PAINTED, Drawings, compose, premultiplied

COUNT = 40


def drawings(kind: int) -> Drawings:
    """A red square on nothing, with black lines at its border and a dot of ink in a frame."""
    paint = torch.zeros(COUNT, 64, 64, 4, dtype=torch.uint8)
    paint[:, 16:48, 16:48] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
    lines = torch.zeros(COUNT, 64, 64, dtype=torch.uint8)
    lines[:, 16:18, 16:48] = 255
    within = lines.clone()
    within[:, 16:48, 16:48] = 255
    return Drawings(torch.full((COUNT,), kind), paint, paint, lines, within if kind == INK else lines)


def composed(kind: int, as_drawn: float) -> torch.Tensor:
    return compose(drawings(kind), as_drawn, torch.Generator().manual_seed(0))


def test_a_drawing_stays_as_it_is_where_nothing_is_to_be_redrawn() -> None:
    for kind in (KINDS.index("colour"), PAINTED):
        assert torch.equal(composed(kind, as_drawn=1.0), premultiplied(drawings(kind).plain))


def test_a_picture_of_pixels_is_never_redrawn() -> None:
    assert torch.equal(composed(PAINTED, as_drawn=0.0), premultiplied(drawings(PAINTED).plain))


def test_a_redrawn_picture_has_red_white_or_lined_fills() -> None:
    pictures = composed(KINDS.index("colour"), as_drawn=0.0)
    inside, border = pictures[:, :3, 32, 32], pictures[:, :3, 16, 32]
    white = (inside == 1).all(dim=1)
    red = (inside == torch.tensor([1.0, 0.0, 0.0])).all(dim=1)
    assert (white | red).all()
    assert white.any()
    assert red.any()
    lined = (border == 0).all(dim=1)
    assert lined.any()
    assert not lined.all()
    assert lined[white].all(), "white on white shows nothing"


def test_ink_is_dark_over_nothing_or_over_what_it_encloses() -> None:
    pictures = composed(INK, as_drawn=0.0)
    assert (pictures[:, :3, 16, 32] <= 0.8).all()
    enclosed = pictures[:, 3, 32, 32]
    assert set(enclosed.tolist()) == {0.0, 1.0}


def test_colours_never_exceed_their_opacity() -> None:
    for kind in range(len(KINDS)):
        pictures = composed(kind, as_drawn=0.3)
        assert (pictures[:, :3] <= pictures[:, 3:] + 1e-6).all()
