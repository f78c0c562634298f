"""How fast the page of the playground is in a real Chromium: until it can be used, and with two thousand
pictures of a visitor's own in it. The server has the stub, so that the page is what takes the time.

    open ─▶ usable                                     seconds, against one second
    add 2,000 pictures ─▶ search, scroll, look at the map    the slow frames, against a thirtieth of a second
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from typing import Any

from benchmarks.report import Row
from tests.playground.browsing import Visit, chromium, visiting
from tests.server import start_server

__all__ = ["has_chromium", "rows"]

PICTURES = 2_000
SIDE = 160
USABLE = 1000.0
FRAME = 1000 / 30 + 0.1
"""Milliseconds; the page's clock counts tenths, so that two frames of a screen may seem to be 33.4."""
MODEL = "stub:dimension=768"
SLOW = 0.95
"""So many of the frames must be fast."""

# Pictures that differ, made in the page: through Playwright they would take longer than all that is measured.
_ADD = """async ([count, side]) => {
  const canvas = new OffscreenCanvas(side, side);
  const pen = canvas.getContext("2d");
  const transfer = new DataTransfer();
  for (let at = 0; at < count; at += 1) {
    pen.fillStyle = `hsl(${(at * 137) % 360} 70% 50%)`;
    pen.fillRect(0, 0, side, side);
    pen.fillStyle = "#fff";
    pen.fillRect((at * 31) % side, (at * 17) % side, 40, 40);
    const blob = await canvas.convertToBlob({ type: "image/jpeg" });
    transfer.items.add(new File([blob], `${at}.jpg`, { type: "image/jpeg" }));
  }
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", options));
}"""

# What a visitor does, one step a frame; gives how long each frame took, and the tasks over 50 ms.
_FRAMES = """async ([name, steps]) => {
  const doing = {
    wait: () => {},
    scroll: () => window.scrollBy(0, 100),
    pan: (at) => {
      const options = { key: ["ArrowLeft", "ArrowRight", "+", "-"][at % 4], bubbles: true, cancelable: true };
      document.getElementById("canvas").dispatchEvent(new KeyboardEvent("keydown", options));
    },
  }[name];
  const long = [];
  const keep = (list) => long.push(...list.getEntries().map((each) => each.duration));
  const observer = new PerformanceObserver(keep);
  observer.observe({ entryTypes: ["longtask"] });
  const frames = [];
  let before = await new Promise(requestAnimationFrame);
  for (let at = 0; at < steps; at += 1) {
    doing(at);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  observer.disconnect();
  return { frames, long };
}"""


def has_chromium() -> bool:
    """Whether there is a browser to measure with."""
    return any(shutil.which(name) for name in ("chromium", "chromium-browser"))


def rows(rounds: int = 5) -> list[Row]:
    """Raises where Chromium or Playwright is missing."""
    opened: list[float] = []
    moving: dict[str, list[dict[str, Sequence[float]]]] = {"scroll": [], "pan": [], "add": []}
    with start_server("--model", MODEL) as server, chromium() as browser:
        for _ in range(rounds):
            with visiting(browser, server.http) as visit:
                opened.append(usable(visit))
        for _ in range(rounds):
            with visiting(browser, server.http) as visit:
                for name, taken in full(visit).items():
                    moving[name].append(taken)
    named = {
        "scroll": "scrolling through 2,000 pictures",
        "pan": "moving about the map of 2,000 pictures",
        "add": "the page while 2,000 pictures are added",
    }
    return [
        Row(
            "the playground, from its address to a word that can be typed",
            "one second",
            [milliseconds / USABLE for milliseconds in opened],
            bar=1.0,
            at_most=True,
            facts={"longest": f"{max(opened):.0f} ms"},
        ),
        *(
            Row(
                f"the playground, {named[name]}: 95 of 100 frames",
                "a thirtieth of a second",
                [share(each["frames"], SLOW) / FRAME for each in taken],
                bar=1.0,
                at_most=True,
                facts=facts(taken),
            )
            for name, taken in moving.items()
        ),
    ]


def usable(visit: Visit) -> float:
    """Milliseconds from asking for the address until the page can be typed into."""
    visit.page.goto(f"{visit.origin}/")
    visit.page.wait_for_selector("html[data-ready]")
    return float(visit.page.evaluate("() => performance.now()"))


def full(visit: Visit) -> dict[str, dict[str, Any]]:
    """Frames and long tasks with two thousand pictures of the visitor's own."""
    visit.open()
    page = visit.page
    page.evaluate(_ADD, [PICTURES, SIDE])
    added: dict[str, Any] = {"frames": [], "long": []}
    while not page.locator("#progress:empty").count() or f"{PICTURES:,}" not in page.inner_text("#count"):
        piece = page.evaluate(_FRAMES, ["wait", 60])
        for name, values in added.items():
            values.extend(piece[name])
    visit.search("cat")
    visit.expect(page.locator("#search-status")).to_contain_text(f"{PICTURES + 50:,}")
    scrolled = page.evaluate(_FRAMES, ["scroll", 300])
    visit.tab("map")
    visit.expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile(r"2,?050 pictures"))
    page.wait_for_timeout(1000)
    return {"scroll": scrolled, "pan": page.evaluate(_FRAMES, ["pan", 120]), "add": added}


def share(values: Sequence[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def facts(taken: Sequence[dict[str, Sequence[float]]]) -> dict[str, float | str]:
    """In words."""
    frames = [frame for each in taken for frame in each["frames"]]
    long = [task for each in taken for task in each["long"]]
    return {
        "median frame": f"{share(frames, 0.5):.0f} ms",
        "longest frame": f"{max(frames):.0f} ms",
        "tasks over 50 ms": len(long),
        "longest of them": f"{max(long, default=0.0):.0f} ms",
    }
