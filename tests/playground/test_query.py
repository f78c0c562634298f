"""A query of words and pictures with their weights, and the ranking that is drawn for it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.playground.browsing import PICTURES, Visit, drop, meddle

HELD = """async ({ path, body }) => {
  if (path !== "/v1/embeddings" || !body.input[0].image) return;
  while (window.held) await new Promise((go) => setTimeout(go, 5));
}"""
RANKED = "async () => (await import('/playground/js/search.js')).bestPictures().map((each) => each.name)"
REDRAWN = """async () => {
  const { changed } = await import("/playground/js/state.js");
  changed("vectors");
  await new Promise((go) => setTimeout(go, 150));
}"""


def weight(visit: Visit) -> Any:
    return visit.page.get_by_role("spinbutton", name="Weight")


def said(visit: Visit) -> Any:
    """How many are ranked, the best and its score."""
    return visit.page.locator("#search-status")


def ranks(visit: Visit, pictures: int) -> None:
    visit.expect(said(visit)).to_contain_text(f"{pictures} pictures ranked")


def test_a_picture_alone_can_be_taken_away(visit: Visit) -> None:
    visit.open()
    visit.page.get_by_role("button", name="Take this picture away from the query: cat").click()
    ranks(visit, 50)
    assert visit.page.evaluate(RANKED)[-1] == "cat.png"
    visit.expect(weight(visit)).to_have_value("-1")
    weight(visit).fill("0")
    visit.expect(visit.page.locator("#alerts p")).to_have_text(
        "The parts cancel each other out. Change a weight."
    )
    weight(visit).fill("1")
    visit.first_is("cat")
    visit.no_alert_is_left()


def test_a_weight_is_shown_and_counts_when_the_other_parts_are_gone(visit: Visit) -> None:
    visit.open("#q=2+rocket&q=-0.5+cat")
    ranks(visit, 50)
    before = said(visit).inner_text()
    visit.page.get_by_role("button", name="Remove this part").first.click()
    visit.expect(weight(visit)).to_have_value("-0.5")
    visit.expect(said(visit)).not_to_have_text(before)
    assert visit.page.evaluate(RANKED)[-1] == "cat.png"
    weight(visit).fill("1e+21")
    visit.page.wait_for_url(re.compile(r"q=1e%2B21\+cat"))
    visit.page.reload()
    visit.expect(visit.page.locator("#part-0")).to_have_value("cat")


@pytest.mark.parametrize("words", ["", "a cat"])
def test_a_query_by_a_picture_is_answered_once_its_embedding_is_there(visit: Visit, words: str) -> None:
    meddle(visit, HELD)
    visit.page.add_init_script("window.held = true;")
    visit.open(embedded=False)
    visit.page.get_by_role("button", name="Add this picture to the query: cat").click()
    visit.expect(visit.page.locator(".part-picture")).to_have_text(["cat"])
    if words:
        visit.page.get_by_role("button", name="＋ Add words").click()
        visit.page.locator("#part-1").fill(words)
        visit.expect(visit.page.locator("#tokens-1")).to_contain_text("tokens")
    visit.set("held", False)
    visit.first_is("cat")
    ranks(visit, 50)


def test_pictures_of_a_query_are_not_sent_again(visit: Visit) -> None:
    meddle(visit, "() => undefined")
    visit.open("#q=1+rocket")
    drop(visit, ("mine.png", "image/png", (PICTURES / "rocket.png").read_bytes()))
    ranks(visit, 51)
    before = said(visit).inner_text()
    visit.page.get_by_role("button", name="Add this picture to the query: mine.png").click()
    visit.expect(said(visit)).not_to_have_text(before)
    visit.tab("compare")
    visit.page.locator("#texts").fill("a cat\nein Hund")
    visit.expect(visit.page.locator("#heatmap tbody tr")).to_have_count(2)
    sent = [item for each in visit.asked() for item in each["input"] if "text" not in item]
    assert len(sent) == 51


def test_the_focus_stays_on_a_picture_that_moves(visit: Visit) -> None:
    visit.open("#q=1+cat")
    visit.first_is("cat")
    second = visit.page.locator(".card .name bdi").nth(1).inner_text()
    button = visit.page.get_by_role("button", name=f"Search with this picture: {second}", exact=True)
    button.focus()
    visit.page.keyboard.press("Enter")
    visit.first_is(second)
    visit.expect(button).to_be_focused()


def test_a_press_that_a_new_drawing_interrupts_is_a_click(visit: Visit) -> None:
    visit.open("#q=1+cat")
    visit.first_is("cat")
    visit.page.locator(".card .show").nth(1).hover()
    visit.page.mouse.down()
    visit.page.evaluate(REDRAWN)
    visit.page.mouse.up()
    visit.expect(visit.page.locator(".part-picture")).to_have_count(1)
