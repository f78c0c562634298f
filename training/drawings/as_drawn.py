"""Pictures as their makers drew them, on white: from the rasters, or larger, as users send them."""

from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.drawings.augment import on_ground
from training.drawings.compose import premultiplied
from training.drawings.rasterise import Pixels, plane_path, render, resolve
from training.sources.concepts import drawings_of, icon_set, load_concepts
from training.sources.fonts import open_font
from training.sources.looks import Look

LARGE = 128
"""Pixels on a side of a picture that is rendered for the evaluation."""


def on_white(work: Path, look: Look) -> Tensor:
    """A look's rasters as drawn, on white: [pictures, 3, 64, 64] in 0–1."""
    if look.kind == "ink":
        ink = torch.from_numpy(np.load(plane_path(work, look.name, "ink")))
        return 1 - ink.to(torch.float32).unsqueeze(1).expand(-1, 3, -1, -1) / 255
    pictures = premultiplied(torch.from_numpy(np.load(plane_path(work, look.name, "plain"))))
    return on_ground(pictures, torch.ones(1, 3, 1, 1))


def _render(job: tuple[str, float, float]) -> Pixels:
    body, width, height = job
    return render(body.replace("currentColor", "#000"), width, height, LARGE)


def draw_look(work: Path, look: Look) -> tuple[list[Image.Image], list[int]]:
    """All pictures of a look, RGB on white, rendered ones of 128 pixels; the class number of each."""
    drawings = drawings_of(work, load_concepts(work), look)
    if look.font is not None:
        font = open_font(work, look)
        black = Image.new("L", (LARGE, LARGE))
        inks = [Image.fromarray(font.glyph(character, LARGE)) for _, character in drawings]
        pictures = [Image.merge("RGBA", (black, black, black, ink)) for ink in inks]
    elif look.kind == "painted":
        pictures = [Image.open(work / file).convert("RGBA") for _, file in drawings]
    else:
        icons = icon_set(work, look.package)
        with Pool(2) as pool:
            drawn = pool.map(_render, [resolve(icons, icon) for _, icon in drawings], chunksize=32)
        pictures = [Image.fromarray(pixels) for pixels in drawn]
    grounds = [Image.new("RGBA", picture.size, "white") for picture in pictures]
    shown = [
        Image.alpha_composite(ground, picture).convert("RGB")
        for ground, picture in zip(grounds, pictures, strict=True)
    ]
    return shown, [label for label, _ in drawings]
