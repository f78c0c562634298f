"""What the tabs show belongs to what was typed and chosen last, and to nothing before."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.playground.browsing import PICTURES, Visit, drop
from tests.server import until

CAT = (PICTURES / "cat.png").read_bytes()
LABELS = "#tab=classify&labels=pencil%0Acandle%0Atower"
SHOWN_AT_MOST = 120
"""Pictures to choose from."""

_KEEP_WHAT_IS_SAVED = """() => {
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    if (blob.type === "application/json") window.saved = blob.text(); // others are pictures
    return make.call(URL, blob);
  };
  HTMLAnchorElement.prototype.click = function () {};
}"""


def png(pixels: Any, orientation: int = 1) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


def classified(visit: Visit, name: str, content: bytes) -> dict[str, float]:
    """The probability of each label for a picture that is dropped, as it is saved."""

    def saved() -> Any:
        visit.page.locator("#download").press("Enter")
        return json.loads(visit.page.evaluate("async () => (await window.saved) ?? '{}'"))

    drop(visit, (name, "image/png", content))
    until(lambda: saved().get("picture") == name, what=f"{name} is classified")
    return {each["label"]: each["probability"] for each in saved()["labels"]}


def test_a_photograph_is_classified_upright_as_it_is_searched(visit: Visit) -> None:
    with Image.open(io.BytesIO((PICTURES / "rocket.png").read_bytes())) as rocket:
        seen = np.asarray(rocket.convert("RGB"))
    stored = np.ascontiguousarray(np.rot90(seen))
    visit.open(LABELS)
    visit.page.evaluate(_KEEP_WHAT_IS_SAVED)
    visit.expect(visit.page.locator("#bars .value").first).to_be_visible()
    upright = classified(visit, "seen.png", png(seen))
    turned = classified(visit, "turned.png", png(stored, orientation=6))
    lying = classified(visit, "lying.png", png(stored))
    assert turned == pytest.approx(upright, rel=0.01)
    assert lying != pytest.approx(upright, rel=0.01)


def test_the_newest_picture_comes_first_and_the_chosen_one_is_always_there(visit: Visit) -> None:
    visit.open(LABELS)
    radios = visit.page.locator("#classify-pictures [role=radio]")
    chosen = visit.page.locator("#classify-pictures [aria-checked=true]")
    visit.expect(radios).to_have_count(50)
    before = []
    for count, name in ((51, "older.png"), (52, "newer.png")):
        drop(visit, (name, "image/png", CAT))
        visit.expect(radios).to_have_count(count)
        visit.expect(radios.first).to_have_attribute("title", name)
        visit.expect(chosen).to_have_attribute("title", name)
        before.append(radios.last.element_handle())
    assert before[0].evaluate("(each) => each.isConnected")  # a press that has begun on it is a click
    visit.page.get_by_role("radio", name="tiger").click()
    drop(visit, *((f"{n}.png", "image/png", CAT) for n in range(SHOWN_AT_MOST)))
    visit.expect(visit.page.locator("#count")).to_contain_text("172 pictures are here, 122 of them yours")
    visit.expect(radios).to_have_count(SHOWN_AT_MOST + 1)
    visit.expect(chosen).to_have_attribute("title", "tiger")
    visit.expect(chosen).to_have_attribute("tabindex", "0")
    radios.nth(3).click()
    visit.page.get_by_role("button", name="Remove my pictures").click()
    visit.expect(chosen).to_have_attribute("title", "tiger")
    drop(visit, ("newest.png", "image/png", CAT))
    visit.expect(chosen).to_have_attribute("title", "newest.png")


def test_a_word_that_is_cleared_takes_its_row_with_it_and_the_last_one_everything(visit: Visit) -> None:
    visit.open("#tab=words&concept=rocket")
    said, heat = visit.page.locator("#nine-summary"), visit.page.locator("#nine-heatmap")
    rows = visit.page.locator("#nine .near")
    visit.expect(rows).to_have_count(9)
    visit.page.locator("#nine input[lang=zh]").fill("")
    visit.expect(said).to_contain_text("of 8 find the same picture first")
    visit.expect(visit.page.locator("#near-zh")).to_be_empty()
    visit.expect(visit.page.locator("#finds-zh")).to_be_empty()
    visit.expect(rows).to_have_count(8)
    for field in visit.page.locator("#nine input").all():
        field.fill("")
    visit.expect(rows).to_have_count(0)
    visit.expect(visit.page.locator("#nine .finds")).to_have_count(0)
    visit.expect(said).to_be_empty()
    visit.expect(heat).to_be_empty()
    visit.page.locator("#download").press("Enter")
    visit.expect(visit.page.locator("#said")).to_have_text("There is no result yet.")


FAILING = [
    ("classify", "v1/classify", "#labels", "#bars"),
    ("compare", "v1/embeddings", "#texts", "#heatmap"),
    ("words", "v1/embeddings", "#nine input[lang=en]", "#nine-heatmap"),
]


@pytest.mark.parametrize(("tab", "path", "field", "result"), FAILING)
def test_no_older_result_stands_below_what_could_not_be_answered(
    visit: Visit, tab: str, path: str, field: str, result: str
) -> None:
    visit.open(f"#tab={tab}&labels=cat%0Adog&texts=cat%0Adog&concept=cat")
    shown = visit.page.locator(f"{result} :is(.value, td)").first
    visit.expect(shown).to_be_attached()
    visit.page.route(f"**/{path}", lambda route: route.fulfill(status=500, json={"error": {"message": "no"}}))
    visit.page.locator(field).fill("a word that nobody has typed")
    visit.says("The server failed at this request.")
    visit.expect(visit.page.locator(result)).to_be_empty()
    visit.page.locator("#download").press("Enter")
    visit.expect(visit.page.locator("#said")).to_have_text("There is no result yet.")
    visit.page.unroute(f"**/{path}")
    visit.page.get_by_role("button", name="Try again").click()
    visit.expect(shown).to_be_attached()
    visit.no_alert_is_left()
