"""What is sent: texts of mixed lengths in nine languages, and JPEG files small and of many megapixels."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.full_size import lengths
from worker.inputs.tokenizer import PieceTokenizer
from worker.models.sources import bundled_directory
from worker.spec import ALL_LANGUAGES

__all__ = ["MIXED", "SMALL", "eight_tokens", "jpegs", "texts", "tokens_of"]

NAMES = Path(__file__).parents[1] / "service/frontend/http/playground/page/pictures/names.json"
SMALL = ((480, 320), (640, 480))
"""Width × height: 0.2 and 0.3 megapixels."""
MIXED = (SMALL[0], (3000, 2000), SMALL[1], (4000, 3000))
"""Small ones and those of 6 and 12 megapixels in turn."""


def tokens_of() -> Callable[[str], int]:
    """Counts a text's tokens as the full-size model's folder does, special tokens included."""
    tokenizer = PieceTokenizer.read(bundled_directory(), 77, 250_002)
    return lambda text: len(tokenizer.encode([text])[0].ids)


def texts(count: int, seed: int) -> list[str]:
    """That many distinct texts, each in one language, as long in tokens as `full_size.lengths` says.

    They are rows of names of things. The tokenizer splits at spaces first, so the words' tokens add up.
    Distinct, because equal ones are computed once while they are under way.
    """
    generator = np.random.default_rng(seed)
    count_tokens = tokens_of()
    names = json.loads(NAMES.read_text(encoding="utf-8"))
    words = {
        language: sorted(
            {(count_tokens(word) - 2, word) for name in names for word in name["names"][language].split()}
        )
        for language in ALL_LANGUAGES
    }
    found: dict[str, None] = {}
    for number, length in enumerate(lengths(count, seed)):
        # There are only so many shortest texts: where they have run out, one is a token longer.
        for attempt in itertools.count():
            known = words[ALL_LANGUAGES[(number + attempt) % len(ALL_LANGUAGES)]]
            text = _row_of(known, length - 2 + attempt // 100, generator)
            if text and text not in found:
                found[text] = None
                break
    return list(found)


def _row_of(words: Sequence[tuple[int, str]], room: int, generator: np.random.Generator) -> str:
    """Some of the words, which are (tokens, word), until there is no room for another."""
    chosen: list[str] = []
    while fitting := [(tokens, word) for tokens, word in words if tokens <= room]:
        tokens, word = fitting[generator.integers(len(fitting))]
        chosen.append(word)
        room -= tokens
    return " ".join(chosen)


def eight_tokens(count: int) -> list[str]:
    """That many distinct texts of eight tokens each as the stub counts them, with <s> and </s>."""
    return [f"one two three four five {number}" for number in range(count)]


def jpegs(count: int, seed: int, sides: Sequence[tuple[int, int]] = MIXED) -> list[bytes]:
    """That many distinct JPEG files, their width × height in turn as `sides` says.

    Made, not photographed: noise with a photograph's spectrum (its amplitude falls with the frequency), so
    that their entropy, which is what decoding costs, is like a photograph's: more than one bit a pixel.
    """
    generator = np.random.default_rng(seed)
    return [_jpeg(*sides[number % len(sides)], generator) for number in range(count)]


def _jpeg(width: int, height: int, generator: np.random.Generator) -> bytes:
    picture = np.zeros((height, width, 3), np.float32)
    cell = 512
    while cell >= 1:
        shape = (max(2, height // cell + 1), max(2, width // cell + 1), 3)
        noise = generator.standard_normal(shape, np.float32) * cell**0.4
        picture += _enlarged(noise, width, height) if cell > 1 else noise[:height, :width]
        cell //= 4
    picture -= picture.min()
    picture *= 255 / picture.max()
    buffer = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _enlarged(noise: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    channels = [
        np.asarray(Image.fromarray(noise[:, :, channel]).resize((width, height), Image.Resampling.BILINEAR))
        for channel in range(3)
    ]
    return np.stack(channels, axis=2)
