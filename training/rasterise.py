"""Renders every icon of every style with resvg into uint8 RGBA arrays, training styles in all variants."""

from io import BytesIO
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from training.concepts import icon_set, load_concepts
from training.recipe import ALL_STYLES, IMAGE_SIZE, TRAINING_STYLES
from training.redraw import VARIANTS, redraw

Pixels = NDArray[np.uint8]


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


def _render_job(job: tuple[str, float, float, str]) -> Pixels:
    body, width, height, variant = job
    return render(redraw(body, variant, max(width, height)), width, height, IMAGE_SIZE)


def raster_path(work: Path, style: str, variant: str) -> Path:
    """Where the pictures of one style and variant lie: [pictures, 64, 64, 4]."""
    return work / "rasters" / style / f"{variant}.npy"


def labels_path(work: Path, style: str) -> Path:
    """Where a style's class numbers lie: int64 [pictures], in the order of its rasters."""
    return work / "rasters" / style / "labels.npy"


def rasterise(work: Path, processes: int = 2) -> None:
    """Renders what is missing; a finished file is never rendered again."""
    concepts = load_concepts(work)
    with Pool(processes) as pool:
        for style in ALL_STYLES:
            labels = [number for number, concept in enumerate(concepts) if style in concept.icons]
            labels_path(work, style).parent.mkdir(parents=True, exist_ok=True)
            np.save(labels_path(work, style), np.array(labels, dtype=np.int64))
            icons = icon_set(work, style)
            bodies = [resolve(icons, concepts[number].icons[style]) for number in labels]
            for variant in VARIANTS if style in TRAINING_STYLES else ("plain",):
                path = raster_path(work, style, variant)
                if path.exists():
                    continue
                print(f"rasterise {style} {variant}: {len(labels)} pictures", flush=True)
                pictures = pool.map(_render_job, [(*body, variant) for body in bodies], chunksize=32)
                partial = path.with_suffix(".partial.npy")
                np.save(partial, np.stack(pictures))
                partial.rename(path)
