"""Bad input and a failing server: a message says what to do, nothing typed is lost, nothing is executed."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.config.keys import line_of
from tests.playground.browsing import PICTURES, Visit, drop, meddle, visiting
from tests.server import start_server, until

CAT = (PICTURES / "cat.png").read_bytes()
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PATIENT = ("--hang-timeout", "300", "--grace", "300")
BAD_FAILS = """({ body }) => (body?.input?.[0].text === "bad"
  ? Response.json({ error: { message: "no" } }, { status: 500 })
  : undefined)"""
_KEEP_WHAT_IS_SAID = """() => {
  window.said = {};
  for (const id of ["progress-said", "search-status"]) {
    const place = document.getElementById(id);
    window.said[id] = [];
    new MutationObserver(() => window.said[id].push(place.textContent)).observe(place, { childList: true });
  }
}"""


def test_markup_in_texts_and_file_names_stays_text(visit: Visit) -> None:
    alerts: list[str] = []

    def told(dialog: Any) -> None:
        alerts.append(dialog.message)
        dialog.dismiss()

    visit.page.on("dialog", told)
    visit.open()
    drop(visit, (f"{MARKUP}.png", "image/png", CAT), (f"{MARKUP}.txt", "text/plain", b"x"))
    visit.expect(visit.page.locator(".card.own .name bdi")).to_have_text(f"{MARKUP}.png")
    visit.expect(visit.page.locator("#refused")).to_contain_text(f"{MARKUP}.txt is not an image.")
    visit.search(MARKUP)
    visit.expect(visit.page.locator("#tokens-0")).to_contain_text("tokens")
    visit.tab("compare")
    visit.page.locator("#texts").fill(MARKUP)
    visit.expect(visit.page.locator("#heatmap th bdi")).to_have_text([MARKUP])
    assert visit.page.locator("main script, main img[onerror]").count() == 0
    assert alerts == []


def test_a_text_that_is_too_long_is_told_and_kept(visit: Visit) -> None:
    visit.open()
    visit.search("a" * 100_000)
    visit.says("A text is longer than the server takes (65 kB). Shorten it.")
    visit.expect(visit.page.locator("#part-0")).to_have_value("a" * 100_000)
    visit.search("cat")
    visit.first_is("cat")
    visit.expect(visit.page.locator("#alerts .alert")).to_have_count(0)
    # And what a proxy refuses is told as far as it says.
    visit.page.route("**/v1/embeddings", lambda route: route.fulfill(status=405, body="<html>"))
    visit.search("dog")
    visit.says("The server refused this: 405")


def test_files_that_are_no_pictures_are_named_and_the_others_are_taken(visit: Visit) -> None:
    visit.open()
    broken = ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nnothing")
    heic = ("photo.heic", "", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64))
    drop(visit, broken, heic, ("good.png", "image/png", CAT))
    refused = visit.page.locator("#refused")
    visit.expect(refused).to_contain_text("broken.png could not be read")
    visit.expect(refused).to_contain_text("photo.heic could not be read")
    visit.expect(visit.page.locator(".card.own")).to_have_count(1)
    visit.expect(visit.page.locator(".card.own .name bdi")).to_have_text(["good.png"])
    # A screen reader reads what is new, and the keyboard goes on where pictures are chosen.
    visit.expect(refused).to_have_attribute("aria-live", "polite")
    first = refused.locator("li").first.element_handle()
    drop(visit, ("notes.txt", "text/plain", b"x"))
    visit.expect(refused.locator("bdi")).to_have_count(3)
    assert first.evaluate("(each) => each.isConnected")
    visit.page.get_by_role("button", name="Hide").press("Enter")
    visit.expect(refused).to_be_empty()
    visit.expect(visit.page.locator("#pick")).to_be_focused()


def test_a_photograph_of_sixty_megapixels_is_scaled_before_it_is_sent(visit: Visit) -> None:
    sizes: list[int] = []
    visit.page.on("request", lambda asked: sizes.append(len(asked.post_data_buffer or b"")))
    visit.open()
    content = io.BytesIO()
    Image.new("RGB", (9000, 6700), (200, 60, 40)).save(content, "PNG")
    sizes.clear()
    drop(visit, ("huge.png", "image/png", content.getvalue()))
    visit.search("strawberry")
    visit.expect(visit.page.locator(".card.own .score")).to_have_text(re.compile(r"\d"))
    assert 0 < max(sizes) < 1_000_000


def test_five_hundred_pictures_at_once_are_all_ranked_and_told_of_twice(visit: Visit) -> None:
    visit.open()
    visit.page.evaluate(_KEEP_WHAT_IS_SAID)
    visit.search("cat")
    names = ("cat.png", "dog.png", "rocket.png", "pizza.png")
    contents = [(PICTURES / name).read_bytes() for name in names]
    drop(visit, *((f"{number}.png", "image/png", contents[number % 4]) for number in range(500)))
    visit.expect(visit.page.locator("#count")).to_contain_text("550 pictures", timeout=90_000)
    visit.expect(visit.page.locator("#progress:empty")).to_be_attached(timeout=90_000)
    visit.expect(visit.page.locator("#search-status")).to_contain_text("550 pictures ranked")
    assert visit.page.locator(".card").count() <= 100
    progress, ranked = visit.page.evaluate(
        "() => [window.said['progress-said'], window.said['search-status']]"
    )
    assert progress == ["50 of 550 pictures are ready", "550 pictures are here, 500 of them yours"]
    assert len(ranked) <= 2


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "The server failed at this request."), (429, "The server has too much to do")],
)
def test_an_answer_that_is_an_error_is_told_and_can_be_tried_again(
    visit: Visit, status: int, words: str
) -> None:
    visit.open()
    refuse = {"status": status, "json": {"error": {"message": "no"}}, "headers": {"retry-after": "60"}}
    visit.page.route("**/v1/embeddings", lambda route: route.fulfill(**refuse))
    visit.search("dolphin")
    visit.says(words)
    visit.expect(visit.page.locator("#part-0")).to_have_value("dolphin")
    visit.page.unroute("**/v1/embeddings")
    visit.page.get_by_role("button", name="Try again").press("Enter")
    visit.first_is("dolphin")
    visit.expect(visit.page.locator("#alerts .alert")).to_have_count(0)
    visit.expect(visit.page.locator("#main")).to_be_focused()  # the message had the focus


def test_the_message_of_a_tab_goes_when_the_tab_works_again_or_is_left(visit: Visit) -> None:
    meddle(visit, BAD_FAILS)
    visit.open("#tab=compare")
    for tab, leave in (("compare", False), ("words", False), ("compare", True), ("words", True)):
        visit.tab(tab)
        field = visit.page.locator("#texts" if tab == "compare" else "#nine input").first
        field.fill("bad")
        visit.says("The server failed at this request.")
        if leave:
            visit.tab("classify")
        else:
            field.fill("good")
        visit.no_alert_is_left()


def test_a_key_is_asked_for_and_kept_nowhere_and_a_dead_server_is_told(browser: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(line_of("visitor", "the-right-key"))
    with start_server("--api-keys", str(keys)) as server, visiting(browser, server.http) as visit:
        visit.open(embedded=False)
        dialog, key = visit.page.locator("#key-dialog"), visit.page.locator("#key")
        visit.expect(dialog).to_be_visible()
        key.fill("a-wrong-one")
        visit.page.keyboard.press("Enter")
        visit.expect(visit.page.locator("#key-wrong")).to_contain_text("does not know this key")
        key.fill("the-right-key")
        visit.page.keyboard.press("Enter")
        visit.expect(dialog).to_be_hidden()
        visit.search("cat")
        visit.first_is("cat")
        kept = visit.page.evaluate(
            "() => [document.cookie, location.href, JSON.stringify([localStorage, sessionStorage])].join()"
        )
        assert "the-right-key" not in kept + visit.page.content()
        server.kill()  # and all its processes: a frontend that is left might still answer
        visit.search("rocket")
        visit.says("The server does not answer.")
        visit.expect(visit.page.locator("#part-0")).to_have_value("rocket")
        visit.expect(visit.page.locator(".health.gone")).to_be_visible()
        assert visit.strangers == []


def test_a_server_that_fails_is_full_and_drains_is_told_each_time(browser: Any, tmp_path: Path) -> None:
    keys, hold, batches = (tmp_path / name for name in ("keys", "hold", "batches"))
    keys.write_text(line_of("visitor", "the-key", ("concurrency=1",)))
    model = f"stub:dimension=8,poison=poison,hold={hold},calls={batches}"
    with (
        start_server("--model", model, "--api-keys", str(keys), *PATIENT) as server,
        visiting(browser, server.http) as visit,
        ThreadPoolExecutor(1) as beside,
    ):
        visit.open(embedded=False)
        visit.page.locator("#key").fill("the-key")
        visit.page.keyboard.press("Enter")
        # Two calls at a time are one too many for this key: the pictures come first.
        visit.expect(visit.page.locator("#count")).to_contain_text("50 pictures")
        visit.expect(visit.page.locator("#progress:empty")).to_be_attached()
        visit.search("poison")
        visit.says("The server failed at this request.")
        visit.search("cat")
        visit.expect(visit.page.locator("#alerts .alert")).to_have_count(0)
        visit.expect(visit.page.locator("#progress:empty")).to_be_attached()
        hold.touch()
        try:
            before = len(batches.read_bytes())
            held = beside.submit(embed, server.http, "the-key", "held")
            until(lambda: len(batches.read_bytes()) > before, seconds=60, what="a held batch")
            visit.search("full")
            visit.says("The server has too much to do, or your key's limit is reached.")
            server.process.terminate()
            until(lambda: '"draining": true' in server.get("/readyz")[1], seconds=60, what="the drain begins")
            visit.search("draining")
            # A connection that is still open is answered; one that is made anew meets nobody.
            visit.says(re.compile("The server (is stopping or starting|does not answer)."))
            visit.expect(visit.page.locator("#part-0")).to_have_value("draining")
        finally:
            hold.unlink()
        assert held.result(60) == 200


def embed(http: str, key: str, text: str) -> int:
    """The status of an answer to a text."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps({"input": text}).encode()
    request = urllib.request.Request(f"http://{http}/v1/embeddings", body, headers)
    with urllib.request.urlopen(request, timeout=170) as answer:
        return int(answer.status)
