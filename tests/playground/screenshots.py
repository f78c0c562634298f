"""Writes docs/images/playground-*.png: `make screenshots`. Starts a server of its own.

The numbers of the live strip change from run to run; everything else is the same each time.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from tests.playground.browsing import PICTURES, Visit, chromium, drop, visiting
from tests.server import start_server

FOLDER = Path(__file__).parents[2] / "docs/images"
MOST_BYTES = 200_000
COLOURS = 256


class Shot(NamedTuple):
    """fragment: what was typed, as a link has it. own: a picture that is dropped."""

    name: str
    width: int
    height: int
    fragment: str
    options: dict[str, Any]
    own: str = ""


SHOTS = (
    Shot("desktop", 1280, 860, "#q=1+кошка&q=0.6+tiger", {}, "tiger.png"),
    Shot("dark", 1280, 860, "#tab=map", {"color_scheme": "dark"}),
    Shot("phone", 390, 844, "#q=1+猫", {"is_mobile": True, "has_touch": True, "device_scale_factor": 2}),
    Shot("right-to-left", 1280, 860, "#tab=words&concept=rocket", {"locale": "ar"}),
)


def main() -> int:
    """Writes all of them; the exit status."""
    FOLDER.mkdir(exist_ok=True)
    with start_server() as server, chromium() as browser:
        for shot in SHOTS:
            options = {"viewport": {"width": shot.width, "height": shot.height}, **shot.options}
            with visiting(browser, server.http, **options) as visit:
                write(visit, shot)
    return 0


def write(visit: Visit, shot: Shot) -> None:
    """Takes one."""
    visit.open(shot.fragment)
    if shot.own:
        drop(visit, ("my tiger.png", "image/png", (PICTURES / shot.own).read_bytes()))
        visit.expect(visit.page.locator(".card.own")).to_have_count(1)
    shown = {"map": "#nearest li", "words": "#nine-heatmap table"}
    wanted = next((shown[tab] for tab in shown if f"tab={tab}" in shot.fragment), ".card.first")
    visit.expect(visit.page.locator(wanted).first).to_be_attached()
    visit.page.wait_for_timeout(1500)  # pictures are decoded, and drawn on the map
    if "tab=map" in shot.fragment:
        visit.page.locator("#canvas").scroll_into_view_if_needed()
    content = visit.page.screenshot()
    path = FOLDER / f"playground-{shot.name}.png"
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} has {size} bytes")
    sys.stdout.write(f"{path.name}: {size} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
