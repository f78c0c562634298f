"""Pictures on their way to their embeddings: none holds up the others, none comes back that was removed."""

from __future__ import annotations

import base64
import io
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.playground.browsing import PICTURES, Visit, drop, meddle, visiting
from tests.server import RunningServer, start_server
from worker.decoder import samples

BODY = 150_000
LIMITS = ("--model", "stub:dimension=8", "--max-images", "3", "--http-max-body-bytes", str(BODY))
CAT = ("cat.png", "image/png", (PICTURES / "cat.png").read_bytes())
NOTHING = "() => undefined"
LANES = 2
"""So many requests for pictures are under way at a time; each lane of them ends with the first that fails."""
# Embeddings of pictures wait while `held`, and are answered with the status `refusal` where it is set;
# `refusals` counts these answers.
HELD = """async ({ path, body }) => {
  if (path !== "/v1/embeddings" || !body.input.some((item) => item.image)) return undefined;
  while (window.held) await new Promise((go) => setTimeout(go, 5));
  if (!window.refusal) return undefined;
  window.refusals = (window.refusals ?? 0) + 1;
  const how = { status: window.refusal, headers: { "retry-after": "60" } };
  return Response.json({ error: { message: "no" } }, how);
}"""
ONE_AND_SMALL = """async ({ path, body }) => {
  if (path !== "/v1/embeddings" || !body.input[0].image) return undefined;
  const passes = body.input.length === 1 && body.input[0].image.length < 60_000;
  return passes ? undefined : new Response("<html>Too large</html>", { status: 413 });
}"""
# A key with a quota: it is told to wait for some seconds, and then for longer.
QUOTA = """({ path, body }) => {
  if (path !== "/v1/embeddings" || !body.input[0].image) return undefined;
  window.refusals = (window.refusals ?? 0) + 1;
  if (window.refusals > 4) return undefined;
  const how = { status: 429, headers: { "retry-after": window.refusals > 2 ? "60" : "20" } };
  return Response.json({ error: { message: "no" } }, how);
}"""
WAIT_FOR_NOTHING_LONG = """const wait = window.setTimeout;
window.setTimeout = (run, time, ...given) => wait(run, time > 5_000 ? 0 : time, ...given);"""
FAILS_AT_ONE = """async ({ path, body, go }) => {
  if (path !== "/v1/embeddings" || !body.input[0].image || !window.fails) return undefined;
  const answer = await (await go()).json();
  const error = { message: "The server failed.", type: "server_error", param: null, code: "internal" };
  answer.data[0] = { object: "error", index: 0, embedding: [], error };
  return Response.json(answer, { headers: { "x-request-id": "seven" } });
}"""
LIST_IS_CUT = """async ({ path }) => {
  if (!path.endsWith("/names.json") || window.cut) return;
  window.cut = true;
  throw new TypeError("Failed to fetch");
}"""
CUT = """async ({ path }) => {
  if (!window.cut || !path.endsWith("/pictures/cat.png")) return;
  window.cuts = (window.cuts ?? 0) + 1;
  throw new TypeError("Failed to fetch");
}"""
DROP_AND_REMOVE = """async (content) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  const file = (at) => new File([bytes], `${at}.png`, { type: "image/png" });
  for (let at = 0; at < 40; at += 1) transfer.items.add(file(at));
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", options));
  while (!document.getElementById("progress").textContent) await new Promise((go) => setTimeout(go));
  document.getElementById("clear").click();
}"""


@pytest.fixture(scope="module")
def small(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes little at a time, and has no reader of HEIC, whatever this environment holds."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['pillow_heif'] = None\n")
    with start_server(*LIMITS, environment={"PYTHONPATH": str(folder)}) as server:
        yield server


@pytest.fixture
def guest(browser: Any, small: RunningServer) -> Iterator[Visit]:
    """A fresh visitor of it."""
    with visiting(browser, small.http) as visit:
        yield visit
        assert visit.faults == []


def scan(name: str, side: int) -> tuple[str, str, bytes]:
    """A TIFF, which the browser cannot draw and sends as it is: three bytes a pixel."""
    pixels = random.Random(side).randbytes(3 * side * side)
    content = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(content, "TIFF")
    return name, "image/tiff", content.getvalue()


def holds(visit: Visit, pictures: int, own: int) -> None:
    """All of these are embedded."""
    visit.expect(visit.page.locator("#count")).to_have_text(
        f"{pictures} pictures are here, {own} of them yours"
    )
    visit.expect(visit.page.locator("#progress:empty")).to_be_attached()


def counts(visit: Visit, name: str, enough: int) -> None:
    """Returns once the page has counted so many."""
    visit.page.wait_for_function("([name, enough]) => window[name] >= enough", arg=[name, enough])


def all_come_when_tried_again(visit: Visit) -> None:
    """Only where nothing is under way any more, which would take the button away."""
    visit.page.get_by_role("button", name="Try again").click()
    holds(visit, 50, 0)
    visit.no_alert_is_left()


def own_are(visit: Visit, *names: str) -> None:
    visit.expect(visit.page.locator(".card.own .name bdi")).to_have_text([*names])


def test_no_request_holds_more_than_the_server_takes(guest: Visit) -> None:
    meddle(guest, NOTHING)
    guest.open()
    drop(guest, *(scan(f"{number}.tif", 100) for number in range(4)), scan("big.tif", 220))
    guest.expect(guest.page.locator("#refused")).to_contain_text("big.tif is too large for this server.")
    holds(guest, 54, 4)
    guest.expect(guest.page.locator("#refused bdi")).to_have_count(1)
    guest.no_alert_is_left()
    sent = guest.page.evaluate(
        "() => window.asked.map((body) => [body.input.length, JSON.stringify(body).length])"
    )
    assert max(items for items, _ in sent) == 3
    assert max(size for _, size in sent) <= BODY


def test_large_files_go_a_few_at_a_time(visit: Visit) -> None:
    meddle(visit, HELD)
    visit.open()
    visit.set("held", True)
    drop(visit, *(scan(f"{number}.tif", 640) for number in range(5)))
    visit.expect(visit.page.locator(".card.own")).to_have_count(5)
    visit.set("held", False)
    holds(visit, 55, 5)
    assert max(len(item["image"]) for each in visit.asked() for item in each["input"]) > 1_600_000
    assert max(sum(len(item["image"]) for item in each["input"]) for each in visit.asked()) < 4_200_000


def test_a_request_that_is_refused_as_a_whole_is_made_again_for_each_picture(guest: Visit) -> None:
    meddle(guest, ONE_AND_SMALL)
    guest.open()
    drop(guest, scan("big.tif", 160), CAT)
    guest.expect(guest.page.locator("#refused")).to_contain_text("big.tif is too large for this server.")
    holds(guest, 51, 1)
    own_are(guest, "cat.png")
    guest.no_alert_is_left()


def test_a_heic_photograph_that_nobody_here_can_read_is_told_as_one(guest: Visit) -> None:
    guest.open()
    drop(guest, ("IMG_0001.HEIC", "image/heic", samples.HEIC), CAT)
    guest.expect(guest.page.locator("#refused")).to_contain_text(
        "IMG_0001.HEIC is a HEIC photo, which neither this browser nor this server reads."
    )
    own_are(guest, "cat.png")


def test_a_file_that_is_gone_before_it_is_sent_is_named_and_the_others_are_taken(
    guest: Visit, tmp_path: Path
) -> None:
    meddle(guest, HELD)
    guest.page.add_init_script("window.held = true;")
    paths = [tmp_path / name for name in ("gone.png", "kept.png")]
    for path in paths:
        path.write_bytes(CAT[2])
    guest.open(embedded=False)
    # Those of the page are under way: pictures that come now wait, and are not read yet.
    guest.page.wait_for_function("(lanes) => window.asked.length === lanes", arg=LANES)
    guest.page.locator("#files").set_input_files(paths)
    guest.expect(guest.page.locator(".card.own")).to_have_count(2)
    paths[0].unlink()
    guest.set("held", False)
    guest.expect(guest.page.locator("#refused")).to_contain_text("gone.png could not be read")
    holds(guest, 51, 1)
    own_are(guest, "kept.png")
    guest.no_alert_is_left()


def test_that_pictures_fail_is_told_until_they_are_embedded(guest: Visit) -> None:
    meddle(guest, HELD)
    guest.page.add_init_script("window.refusal = 500;")
    guest.open(embedded=False)
    counts(guest, "refusals", LANES)
    guest.says("The server failed at this request.")
    guest.search("dog")
    guest.expect(guest.page.locator("#tokens-0")).to_contain_text("tokens")
    counts(guest, "refusals", 2 * LANES)  # a search that is answered has them tried again
    guest.expect(guest.page.locator("#alerts .failed")).to_be_visible()
    guest.set("refusal", 0)
    all_come_when_tried_again(guest)


def test_pictures_go_on_once_the_server_answers_a_search(guest: Visit) -> None:
    meddle(guest, HELD)
    guest.page.add_init_script("window.refusal = 429;")
    guest.open(embedded=False)
    counts(guest, "refusals", LANES)
    guest.says("The server has too much to do")
    guest.set("refusal", 0)
    guest.search("cat")
    holds(guest, 50, 0)
    guest.no_alert_is_left()


def test_a_picture_of_the_page_that_does_not_come_is_asked_for_again(guest: Visit) -> None:
    meddle(guest, CUT)
    guest.page.add_init_script("window.cut = true;")
    guest.open(embedded=False)
    counts(guest, "cuts", LANES)  # what has failed in one of them is tried by the other as well
    guest.says("The server does not answer.")
    guest.set("cut", False)
    holds(guest, 50, 0)
    guest.no_alert_is_left()


def test_pictures_go_on_by_themselves_when_the_server_said_that_they_may(guest: Visit) -> None:
    meddle(guest, QUOTA)
    guest.page.add_init_script(WAIT_FOR_NOTHING_LONG)
    guest.open()
    holds(guest, 50, 0)
    guest.no_alert_is_left()
    assert guest.page.evaluate("() => window.refusals") > 4


def test_the_list_of_pictures_is_asked_for_again_once_the_server_answers(guest: Visit) -> None:
    meddle(guest, LIST_IS_CUT)
    guest.open("#tab=words", embedded=False)
    holds(guest, 50, 0)
    guest.expect(guest.page.locator("#nine .near")).to_have_count(9)
    guest.no_alert_is_left()


def test_a_picture_that_the_server_failed_at_is_not_said_to_be_unreadable(guest: Visit) -> None:
    meddle(guest, FAILS_AT_ONE)
    guest.open()
    guest.set("fails", True)
    drop(guest, CAT)
    told = re.compile(r"^cat\.png: The server failed at this request\. .* Request seven\.$")
    guest.expect(guest.page.locator("#refused bdi")).to_have_text([told])
    holds(guest, 50, 0)


def test_pictures_that_are_removed_while_they_are_read_do_not_arrive(guest: Visit) -> None:
    guest.open()
    guest.page.evaluate(DROP_AND_REMOVE, base64.b64encode(CAT[2]).decode())
    holds(guest, 50, 0)
    own_are(guest)


def test_removed_pictures_leave_the_query_and_are_not_sent_again(guest: Visit) -> None:
    meddle(guest, HELD)
    guest.open()
    guest.set("held", True)
    before = len(guest.asked())
    drop(guest, ("a.png", *CAT[1:]), ("b.png", *CAT[1:]))
    guest.page.get_by_role("button", name="Add this picture to the query: a.png").click()
    guest.expect(guest.page.locator(".part-picture")).to_have_text(["a.png"])
    guest.page.wait_for_function("(before) => window.asked.length > before", arg=before)
    guest.page.get_by_role("button", name="Remove my pictures").click()
    guest.expect(guest.page.locator("#pick")).to_be_focused()  # the button is gone
    guest.expect(guest.page.locator(".part-picture")).to_have_count(0)
    guest.expect(guest.page.locator("#part-0")).to_be_visible()
    guest.set("refusal", 500)
    guest.set("held", False)
    guest.search("dog")
    guest.expect(guest.page.locator("#tokens-0")).to_contain_text("tokens")
    guest.set("refusal", 0)
    drop(guest, ("c.png", *CAT[1:]))
    holds(guest, 51, 1)
    own_are(guest, "c.png")
    assert len(guest.asked()[-1]["input"]) == 1
    guest.no_alert_is_left()
