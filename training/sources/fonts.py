"""Fonts that draw emoji in one colour: which characters they draw, and their glyphs.

A family comes in parts, each with the glyphs of some ranges of code points; `unicode.json` says which.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from training.files import read_json
from training.sources.fetch import package_folder
from training.sources.looks import Look

VARIATION_SELECTOR, JOINER = "\ufe0f", "\u200d"
GENDERS = "♀♂👨👩"
"""What makes a joined sequence's figure a woman or a man; these fonts draw the same for all of them."""
ALIKE = frozenset("🤴👸🤰🫃🎅🤶🕺💃👫👬👭")
"""Figures that differ in nothing but gender, which these fonts do not draw."""
NO_CHARACTER = "\U0010fffe"
FILLED = 15 / 16
"""Of the picture's side, how much a glyph takes."""


@cache
def _load(file: Path, size: int) -> ImageFont.FreeTypeFont:
    if not features.check("raqm"):
        raise RuntimeError(
            "joined emoji need text shaping: install libfribidi0, which Pillow loads by itself"
        )
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.RAQM)


def _ranges(text: str) -> list[range]:
    """`U+23,U+30-39` as ranges of code points."""
    pairs = [part.strip().removeprefix("U+").partition("-") for part in text.split(",")]
    return [range(int(first, 16), int(last or first, 16) + 1) for first, _, last in pairs]


@dataclass(frozen=True)
class EmojiFont:
    """One weight of a font: its files, and the code points that each has."""

    parts: tuple[tuple[Path, tuple[range, ...]], ...]

    def draws(self, text: str) -> bool:
        """Whether there is a glyph for the text alone: not for its parts, nor for every gender the same."""
        if text in ALIKE or (JOINER in text and any(gender in text for gender in GENDERS)):
            return False
        file = self._file(text)
        if file is None:
            return False
        font = _load(file, 32)
        drawn, nothing = font.getmask(text), font.getmask(NO_CHARACTER)
        return drawn.getbbox() is not None and bytes(drawn) != bytes(nothing)

    def glyph(self, text: str, size: int) -> NDArray[np.uint8]:
        """How dark the glyph's ink is, [size, size], in the picture's middle."""
        file = self._file(text)
        if file is None:
            raise ValueError(f"no part of the font has {text!r}")
        large = _load(file, 4 * size)
        page = Image.new("L", (12 * size, 12 * size))
        ImageDraw.Draw(page).text((3 * size, 3 * size), text, font=large, fill=255)
        ink = page.crop(page.getbbox())
        factor = FILLED * size / max(ink.size)
        width, height = (max(1, round(factor * side)) for side in ink.size)
        ink = ink.resize((width, height), Image.Resampling.BOX)
        picture = Image.new("L", (size, size))
        picture.paste(ink, ((size - width) // 2, (size - height) // 2))
        return np.asarray(picture)

    def _file(self, text: str) -> Path | None:
        points = {ord(part) for part in text if part not in (VARIATION_SELECTOR, JOINER)}
        for file, ranges in self.parts:
            if all(any(point in each for each in ranges) for point in points):
                return file
        return None


def open_font(work: Path, look: Look) -> EmojiFont:
    """The font of a look."""
    assert look.font is not None, f"{look.name} is no font"
    folder = package_folder(work, look.package)
    parts = []
    for name, ranges in read_json(folder / "unicode.json").items():
        file = f"{look.font.family}-{name.strip('[]')}-{look.font.weight}-normal.woff"
        parts.append((folder / "files" / file, tuple(_ranges(ranges))))
    return EmojiFont(tuple(parts))
