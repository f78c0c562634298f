"""The map under fingers and keys, and in the system's colours."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.playground.browsing import Visit
from tests.server import until

# Of the last frame: where each text stands, in which colour, and how large pictures are.
_KEEP_WHAT_IS_DRAWN = """(() => {
  const { clearRect, fillText, roundRect } = CanvasRenderingContext2D.prototype;
  Object.assign(CanvasRenderingContext2D.prototype, {
    clearRect(...given) {
      window.drawn = { texts: {}, ink: "", side: 0 };
      return clearRect.apply(this, given);
    },
    fillText(text, x, y) {
      Object.assign(window.drawn, { ink: this.fillStyle });
      window.drawn.texts[text] = [x, y];
      return fillText.call(this, text, x, y);
    },
    roundRect(x, y, width, height, round) {
      if (width === height) window.drawn.side = width;
      return roundRect.call(this, x, y, width, height, round);
    },
  });
  window.addEventListener("keydown", (event) => { window.taken = event.defaultPrevented; });
})()"""


def drawn(visit: Visit) -> Any:
    return visit.page.evaluate("() => window.drawn ?? { texts: {}, ink: '', side: 0 }")


def is_enlarged(visit: Visit, before: Any, factor: float) -> None:
    """Pictures grow with the root of what the map is enlarged by."""
    side = before["side"] * factor**0.5
    until(lambda: drawn(visit)["side"] == pytest.approx(side), what=f"the map is enlarged {factor} times")


def moved(before: Any, after: Any) -> set[tuple[int, int]]:
    """By how much the texts that both frames show have moved, in CSS pixels."""
    texts = before["texts"].keys() & after["texts"].keys()
    pairs = [(before["texts"][text], after["texts"][text]) for text in texts]
    return {(round(there[0] - here[0]), round(there[1] - here[1])) for here, there in pairs}


def test_a_finger_moves_an_enlarged_map_two_zoom_it_and_a_tap_names_what_it_meets(visit: Visit) -> None:
    visit.page.add_init_script(_KEEP_WHAT_IS_DRAWN)
    visit.open("#tab=map")
    canvas = visit.page.locator("#canvas")
    visit.expect(canvas).to_have_attribute("aria-label", re.compile("50 pictures and 15 texts"))
    until(lambda: len(drawn(visit)["texts"]) == 15, what="the map is drawn")
    whole = drawn(visit)
    for step in (1, 2):
        visit.page.locator("#zoom-in").click()
        is_enlarged(visit, whole, 1.3**step)
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind: str, *places: tuple[float, float]) -> None:
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        points = [{"x": box["x"] + x, "y": box["y"] + y, "id": at} for at, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    before = drawn(visit)
    touch("Start", (400, 250))
    for step in range(1, 6):
        touch("Move", (400 + 6 * step, 250 - 12 * step))
    until(lambda: moved(before, drawn(visit)) == {(30, -60)}, what="the map follows the finger")
    touch("End")
    touch("Start", (360, 250), (440, 250))
    for step in range(1, 5):
        touch("Move", (360 - 10 * step, 250), (440 + 10 * step, 250))
    is_enlarged(visit, before, 2.0)
    touch("End")
    visit.page.locator("#zoom-reset").click()
    is_enlarged(visit, whole, 1.0)
    touch("Start", drawn(visit)["texts"]["火箭"])
    visit.expect(visit.page.locator("#map-hover")).to_have_text(re.compile(r"\S"))
    touch("End")


def test_the_map_follows_the_system_s_colours_and_leaves_the_browser_its_keys(visit: Visit) -> None:
    visit.page.add_init_script(_KEEP_WHAT_IS_DRAWN)
    visit.open("#tab=map")
    until(lambda: drawn(visit)["ink"] == "#ffffff", what="the map is drawn")
    visit.page.emulate_media(color_scheme="dark")
    until(lambda: drawn(visit)["ink"] == "#14151a", what="it is drawn in the dark")
    for place, own, others in (
        ("#canvas", "ArrowLeft", ("Alt+ArrowRight", "Control+0")),
        ("#tab-map", "Home", ("Alt+ArrowRight", "Control+Home")),
    ):
        for key in others:
            visit.page.locator(place).press(key)
            assert visit.page.evaluate("() => window.taken") is False, key
        visit.page.locator(place).press(own)
        assert visit.page.evaluate("() => window.taken") is True
