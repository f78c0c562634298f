"""What a visitor does with the playground: types, drops, pastes, compares, and comes back by a link."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.overlays import imported
from tests.playground.browsing import PICTURES, Visit, drop, visiting
from tests.server import RunningServer, until

CAT = (PICTURES / "cat.png").read_bytes()
ROCKET = (PICTURES / "rocket.png").read_bytes()


def test_words_in_any_language_find_their_picture_and_tell_their_tokens(visit: Visit) -> None:
    visit.open()
    for text, name in (("قطة", "cat"), ("ロケット", "rocket"), ("зонт", "umbrella")):
        visit.search(text)
        visit.first_is(name)
    visit.expect(visit.page.locator("#tokens-0")).to_have_text(re.compile(r"^\d+ of 77 tokens$"))
    visit.search("cat " * 200)
    visit.expect(visit.page.locator("#tokens-0.cut")).to_contain_text("77 tokens")


def test_a_dropped_and_a_pasted_picture_are_ranked(visit: Visit) -> None:
    visit.open()
    visit.search("rocket")
    drop(visit, ("my rocket.png", "image/png", ROCKET))
    own = visit.page.locator(".card.own .name bdi")
    visit.expect(own).to_have_text("my rocket.png")
    drop(visit, ("pasted.png", "image/png", CAT), kind="paste")
    visit.search("cat")
    visit.expect(visit.page.locator(".ranking .card:nth-child(-n+2).own .name bdi")).to_have_text(
        ["pasted.png"]
    )
    visit.page.get_by_role("button", name="Search with this picture: pasted.png").click()
    visit.expect(visit.page.locator(".card.first .score")).to_have_text("1.00")


def test_ones_own_picture_is_found_however_far_down_it_ranks(visit: Visit) -> None:
    visit.open()
    drop(visit, ("my rocket.png", "image/png", ROCKET))
    visit.search("rocket")
    visit.expect(visit.page.locator(".ranking .card:nth-child(-n+3).own")).to_have_count(1)
    visit.expect(visit.page.locator("#own-best")).to_be_hidden()
    visit.search("cat")
    visit.expect(visit.page.locator("#own-best")).to_contain_text("The best of yours: my rocket.png, place ")
    visit.page.locator("#own-best").click()
    own = visit.page.locator(".card.own")
    visit.expect(own).to_be_in_viewport()
    visit.expect(own.locator("button").first).to_be_focused()


def test_a_query_is_a_weighted_sum_of_words_and_pictures(visit: Visit) -> None:
    visit.open("#q=1+cat")
    visit.first_is("cat")
    visit.page.get_by_role("button", name="Take this picture away from the query: cat").click()
    visit.page.get_by_role("button", name="＋ Add words").click()
    visit.page.locator(".part input[type=search]").last.fill("rocket")
    visit.first_is("rocket")
    weights = visit.page.get_by_role("spinbutton", name="Weight")
    visit.expect(weights).to_have_count(3)
    weights.nth(1).fill("0")
    weights.nth(0).fill("3")
    visit.first_is("cat")
    visit.page.get_by_role("button", name="Remove this part").nth(1).press("Enter")
    visit.expect(weights).to_have_count(2)
    visit.expect(visit.page.locator(".part input[type=search]").last).to_be_focused()


def test_the_heat_map_the_bars_the_nine_words_and_the_map_are_drawn(visit: Visit) -> None:
    visit.open()
    visit.tab("compare")
    visit.page.locator("#texts").fill("cat\nрокета\nحصان")
    rows = visit.page.locator("#heatmap tbody tr")
    visit.expect(rows).to_have_count(3)
    visit.expect(rows.first.locator("td.best")).to_have_text(re.compile(r"^0\.\d\d$"))
    visit.tab("classify")
    visit.page.get_by_role("radio", name="tiger").click()
    visit.page.locator("#labels").fill("perro\ntigre\nbarco")
    visit.page.locator("#labels-language").select_option("es")
    visit.expect(visit.page.locator("#bars li").first.locator(".label")).to_have_text("tigre")
    visit.tab("words")
    visit.page.locator("#concept").select_option("rocket")
    visit.expect(visit.page.locator("#nine-summary")).to_contain_text("9 find the same picture first")
    visit.expect(visit.page.locator("#nine-heatmap tbody tr")).to_have_count(9)
    visit.tab("map")
    visit.expect(visit.page.locator("#canvas")).to_have_attribute(
        "aria-label", re.compile("50 pictures and 12 texts")
    )
    visit.expect(visit.page.locator("#nearest li")).to_have_count(12)
    canvas = visit.page.locator("#canvas")
    # An empty one is a tenth of that. Pictures are drawn on it as they are decoded.
    until(lambda: len(canvas.screenshot()) > 20_000, seconds=60, what="the map is drawn")


_TELL_HOW_LARGE_PICTURES_ARE_DRAWN = """() => {
  const draw = CanvasRenderingContext2D.prototype.roundRect;
  CanvasRenderingContext2D.prototype.roundRect = function (x, y, width, height, round) {
    if (width === height) window.side = width;
    return draw.call(this, x, y, width, height, round);
  };
}"""


def test_the_wheel_scrolls_the_page_and_zooms_a_map_that_has_the_focus_by_as_much_as_it_turns(
    visit: Visit,
) -> None:
    visit.page.add_init_script(f"({_TELL_HOW_LARGE_PICTURES_ARE_DRAWN})()")
    visit.open("#tab=map")
    canvas, mouse = visit.page.locator("#canvas"), visit.page.mouse
    visit.expect(canvas).to_have_attribute("aria-label", re.compile("50 pictures and 15 texts"))
    visit.expect(visit.page.locator("#nearest li").first).to_contain_text("→")

    def side() -> float:
        return float(visit.page.evaluate("() => window.side"))

    def scrolled() -> int:
        return int(visit.page.evaluate("() => window.scrollY"))

    whole = side()
    visit.page.evaluate("() => window.scrollTo(0, 150)")
    until(lambda: scrolled() == 150, what="the page is scrolled")
    box = canvas.bounding_box()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.wheel(0, -150)
    until(lambda: scrolled() == 0, what="the page is scrolled back")
    canvas.click()
    mouse.wheel(0, -100)
    # Pictures grow with the root of what the map is enlarged by.
    until(lambda: side() == pytest.approx(whole * 1.3**0.5), what="the map is enlarged by a step")
    mouse.wheel(80, 0)
    for _ in range(10):
        mouse.wheel(0, -10)
    until(lambda: side() == pytest.approx(whole * 1.3), what="and by another, in ten turns")
    visit.page.locator("#language").select_option("ar")
    visit.expect(visit.page.locator("#nearest li").first).to_contain_text("←")


def test_a_link_brings_back_what_was_typed_and_no_picture(visit: Visit) -> None:
    visit.open()
    visit.search("猫")
    drop(visit, ("secret.png", "image/png", ROCKET))
    visit.expect(visit.page.locator(".card.own")).to_have_count(1)
    visit.tab("compare")
    visit.page.locator("#texts").fill("uno\n<b>due</b>")
    visit.page.wait_for_url(re.compile("texts=uno"))
    link = visit.page.url
    assert "secret" not in link
    visit.page.goto("about:blank")
    visit.open(f"#{link.partition('#')[2]}")
    visit.expect(visit.page.locator("#compare")).to_be_visible()
    visit.expect(visit.page.locator("#texts")).to_have_value("uno\n<b>due</b>")
    visit.tab("search")
    visit.expect(visit.page.locator("#part-0")).to_have_value("猫")
    visit.first_is("cat")
    visit.tab("words")
    word = visit.page.locator("#nine input[lang=en]")
    word.fill("boat")
    visit.page.evaluate("() => { location.hash = '#tab=words&concept=rocket'; }")
    visit.expect(word).to_have_value("rocket")


_KEEP_WHAT_IS_SAVED = """() => {
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { window.saved = blob.text(); return make.call(URL, blob); };
  HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download; };
}"""


def test_the_result_is_saved_and_the_request_shown_as_code(visit: Visit) -> None:
    visit.open("#q=1+cat")
    visit.first_is("cat")
    # Chromium under Playwright loses about one download in ten: what the page hands to it is looked at.
    visit.page.evaluate(_KEEP_WHAT_IS_SAVED)
    visit.page.locator("#download").press("Enter")
    name, text = visit.page.evaluate("async () => [window.savedAs, await window.saved]")
    assert name == "altclip-search.json"
    saved = json.loads(text)
    assert (saved["model"], saved["ranking"][0]["picture"]) == ("bundled", "cat.png")
    visit.page.locator("#code summary").press("Enter")
    code = visit.page.locator("#code-text")
    visit.expect(code).to_contain_text('client.similarity(["cat"]')
    visit.page.get_by_role("tab", name="curl", exact=True).press("Enter")
    visit.expect(code).to_contain_text(f"{visit.origin}/v1/similarity")


def test_everything_works_with_the_keyboard_alone(visit: Visit) -> None:
    visit.open()
    keys = visit.page.keyboard
    visit.expect(visit.page.locator("#part-0")).to_be_focused()
    keys.type("guitar")
    visit.first_is("guitar")
    visit.page.locator("#tab-search").focus()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    visit.expect(visit.page.locator("#tab-classify")).to_be_focused()
    visit.expect(visit.page.locator("#classify")).to_be_visible()
    visit.expect(visit.page.locator("#bars .value").first).to_be_visible()
    keys.press("Tab")
    visit.expect(visit.page.locator("#classify-pictures [aria-checked=true]")).to_be_focused()
    keys.press("Home")
    visit.expect(visit.page.get_by_role("radio", name="airplane")).to_be_focused()
    visit.expect(visit.page.get_by_role("radio", name="airplane")).to_be_checked()


def test_arabic_is_written_from_right_to_left(visit: Visit) -> None:
    visit.open()
    visit.page.locator("#language").select_option("ar")
    visit.expect(visit.page.locator("html[dir=rtl][lang=ar]")).to_be_attached()
    visit.expect(visit.page.locator("#tab-map")).to_have_text("الخريطة")
    visit.search("cat")
    visit.first_is("قطة")


_ALL: dict[str, Any] = {"resultTypes": ["violations"]}
# The schemes differ in their colours alone.
_OF_COLOURS = {**_ALL, "runOnly": {"type": "rule", "values": ["color-contrast"]}}


@pytest.mark.parametrize(("scheme", "rules"), [("light", _ALL), ("dark", _OF_COLOURS)], ids=["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Any, server: RunningServer, scheme: str, rules: dict[str, Any]
) -> None:
    # axe puts its own script into the page, which the policy would refuse.
    axe = imported("browser", "axe_playwright_python.sync_playwright").Axe()
    with visiting(browser, server.http, color_scheme=scheme, bypass_csp=True) as other:
        other.open("#q=1+cat")
        other.first_is("cat")
        faults = []
        for tab in ("search", "compare", "classify", "words", "map"):
            other.tab(tab)
            other.expect(
                other.page.locator(
                    {
                        "compare": "#heatmap table",
                        "classify": "#bars li .value",
                        "words": "#nine-heatmap table",
                    }.get(tab, f"#{tab}")
                ).first
            ).to_be_visible()
            found = axe.run(other.page, options=rules).response["violations"]
            faults += [
                (tab, each["id"], [node["target"] for node in each["nodes"]][:3])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
        assert faults == []
