"""Glyphs of a font: which texts it draws, and that they fill the picture's middle."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont, features

from training.sources.fonts import EmojiFont

pytestmark = pytest.mark.skipif(not features.check("raqm"), reason="Pillow finds no libfribidi to shape text")


@pytest.fixture
def font(tmp_path: Path) -> EmojiFont:
    """Pillow's own font, said to have Latin letters in one part and emoji, which it has not, in another."""
    default = ImageFont.load_default(size=10)
    assert isinstance(default, ImageFont.FreeTypeFont)
    assert isinstance(default.path, BytesIO)
    file = tmp_path / "default.woff"
    file.write_bytes(default.path.getvalue())
    return EmojiFont(((file, (range(0x41, 0x5B),)), (file, (range(0x1F000, 0x20000), range(0x2640, 0x2643)))))


def test_a_letter_is_drawn_and_a_character_without_a_glyph_is_not(font: EmojiFont) -> None:
    assert font.draws("A")
    assert not font.draws("🐈")
    assert not font.draws("a")  # no part has it


def test_figures_that_differ_only_in_gender_are_not_taken(font: EmojiFont) -> None:
    assert not font.draws("🏃\u200d♀")
    assert not font.draws("💃")


def test_a_glyph_fills_the_middle_of_its_picture(font: EmojiFont) -> None:
    ink = font.glyph("H", 64)
    assert ink.shape == (64, 64)
    assert ink.dtype == np.uint8
    down, across = np.nonzero(ink > 96)
    assert max(np.ptp(down), np.ptp(across)) + 1 == 60
    assert abs(down.min() + down.max() - 63) <= 1
    assert abs(across.min() + across.max() - 63) <= 1


def test_what_no_part_has_cannot_be_drawn(font: EmojiFont) -> None:
    with pytest.raises(ValueError, match="no part of the font has"):
        font.glyph("ж", 64)
