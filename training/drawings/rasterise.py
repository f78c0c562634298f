"""Renders every drawing with resvg into uint8 arrays, in planes from which training mixes looks."""

from io import BytesIO
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from training.drawings.redraw import redraw
from training.recipe import IMAGE_SIZE
from training.sources.concepts import drawings_of, icon_set, load_concepts
from training.sources.fonts import EmojiFont, open_font
from training.sources.looks import ALL_LOOKS, Look

Pixels = NDArray[np.uint8]
OPAQUE = 96


def resolve(icons: dict[str, Any], name: str) -> tuple[str, float, float]:
    """An icon's SVG body, width and height, with an alias's flips and turns applied."""
    aliases, transforms = icons.get("aliases", {}), []
    while name not in icons["icons"]:
        transforms.append(aliases[name])
        name = aliases[name]["parent"]
    icon = icons["icons"][name]
    width = float(icon.get("width", icons.get("width", 16)))
    height = float(icon.get("height", icons.get("height", 16)))
    body: str = icon["body"]
    for entry in reversed(transforms):
        if entry.get("hFlip"):
            body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
        if entry.get("vFlip"):
            body = f'<g transform="translate(0 {height}) scale(1 -1)">{body}</g>'
        if entry.get("rotate"):
            body = f'<g transform="rotate({90 * entry["rotate"]} {width / 2} {height / 2})">{body}</g>'
    return body, width, height


def render(body: str, width: float, height: float, size: int) -> Pixels:
    """The SVG as [size, size, 4] RGBA, not premultiplied, centred when it is not square."""
    side = max(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {side} {side}">{body}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(BytesIO(bytes(png))).convert("RGBA"))


Planes = dict[str, Pixels]


def _draw(job: tuple[Look, str, float, float]) -> Planes:
    """A drawing's planes, 64 pixels on a side, uint8.

    "colour": plain and flat [64, 64, 4]; thin and thick [64, 64], how dark black lines around every shape
    are.
    "ink": ink [64, 64], how opaque; filled [64, 64], the same with what it encloses.
    """
    look, body, width, height = job
    if look.kind == "ink":
        return _inked(render(body.replace("currentColor", "#000"), width, height, IMAGE_SIZE)[..., 3])
    planes = {variant: render_variant(body, variant, width, height) for variant in ("plain", "flat")}
    for variant in ("thin", "thick"):
        lines = render_variant(body, variant, width, height).astype(np.uint16)
        planes[variant] = (lines[..., 3] * (255 - lines[..., 0]) // 255).astype(np.uint8)
    return planes


def render_variant(body: str, variant: str, width: float, height: float) -> Pixels:
    """The SVG redrawn in the look of `variant`, at the model's size."""
    return render(redraw(body, variant, max(width, height)), width, height, IMAGE_SIZE)


def enclosed(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a drawing's lines close in, holes included: everything that no way from the border reaches."""
    free = np.pad(~solid, 1, constant_values=True)
    outside = np.zeros_like(free)
    outside[0, 0] = True
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= free
        if (grown == outside).all():
            return ~outside[1:-1, 1:-1]
        outside = grown


def _inked(ink: Pixels) -> Planes:
    return {"ink": ink, "filled": np.maximum(ink, 255 * enclosed(ink > OPAQUE).astype(np.uint8))}


def _write(job: tuple[EmojiFont, str]) -> Planes:
    """A character as a font draws it."""
    font, character = job
    return _inked(font.glyph(character, IMAGE_SIZE))


def _paint(path: Path) -> Planes:
    """A picture of pixels, made smaller."""
    picture = Image.open(path).convert("RGBA")
    return {"plain": np.asarray(picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))}


def plane_path(work: Path, look: str, plane: str) -> Path:
    """Where one plane of a look's pictures lies; "labels" holds their class numbers, int64."""
    return work / "rasters" / look / f"{plane}.npy"


def rasterise(work: Path, processes: int = 2) -> None:
    """Renders what is missing; a finished look is never rendered again."""
    concepts = load_concepts(work)
    with Pool(processes) as pool:
        for look in ALL_LOOKS.values():
            if plane_path(work, look.name, "labels").exists():
                continue
            drawings = drawings_of(work, concepts, look)
            print(f"rasterise {look.name}: {len(drawings)} pictures", flush=True)
            if look.font is not None:
                font = open_font(work, look)
                planes = pool.map(_write, [(font, character) for _, character in drawings], chunksize=32)
            elif look.kind == "painted":
                planes = pool.map(_paint, [work / drawing for _, drawing in drawings], chunksize=32)
            else:
                icons = icon_set(work, look.package)
                jobs = [(look, *resolve(icons, drawing)) for _, drawing in drawings]
                planes = pool.map(_draw, jobs, chunksize=16)
            plane_path(work, look.name, "labels").parent.mkdir(parents=True, exist_ok=True)
            for plane in planes[0]:
                np.save(plane_path(work, look.name, plane), np.stack([each[plane] for each in planes]))
            labels = np.array([label for label, _ in drawings], dtype=np.int64)
            np.save(plane_path(work, look.name, "labels"), labels)  # last: it marks the look as finished
