"""How pictures of one's own come in: pasted, dropped with their folders, and what else is dropped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.playground.browsing import PICTURES, Visit, drop

CAT = (PICTURES / "cat.png").read_bytes()
ADDRESS = "https://pictures.invalid/cat.png"

_COPY = """async ([text, picture]) => {
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const of = (content, type) => new Blob([content], { type });
  const copied = { "text/plain": of(text, "text/plain"), "image/png": of(bytes, "image/png") };
  await navigator.clipboard.write([new ClipboardItem(copied)]);
}"""

_CANNOT_OPEN = """(name) => {
  const get = DataTransferItem.prototype.webkitGetAsEntry;
  const refuse = (_, failed) => failed(new DOMException("It may not be read.", "NotReadableError"));
  DataTransferItem.prototype.webkitGetAsEntry = function () {
    const folder = get.call(this);
    const reader = Object.getPrototypeOf(folder.createReader());
    const read = reader.readEntries;
    reader.readEntries = function (found, failed) {
      read.call(this, (entries) => {
        for (const entry of entries) if (entry.name === name) entry.file = refuse;
        found(entries);
      }, failed);
    };
    return folder;
  };
}"""


def own(visit: Visit) -> Any:
    """The names of the user's own pictures."""
    return visit.page.locator(".card.own .name bdi")


def copy(visit: Visit, text: str) -> None:
    """Puts a picture on the clipboard together with this text."""
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.evaluate(_COPY, [text, base64.b64encode(CAT).decode()])


def drag(visit: Visit, target: str, *files: Path, items: Sequence[tuple[str, str]] = ()) -> None:
    """Drops files and folders of this machine, or contents of a type, as another program would."""
    place = visit.page.locator(target)
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    data: Mapping[str, Any] = {
        "items": [{"mimeType": kind, "data": content} for kind, content in items],
        "files": [*map(str, files)],
        "dragOperationsMask": 1,
    }
    session = visit.page.context.new_cdp_session(visit.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})


def test_a_text_that_was_copied_with_a_picture_of_itself_is_pasted_into_the_field(visit: Visit) -> None:
    visit.open()
    copy(visit, "rocket")
    query = visit.page.locator("#part-0")
    query.focus()
    visit.page.keyboard.press("Control+V")
    visit.expect(query).to_have_value("rocket")
    visit.page.locator("#pick").focus()  # no text can stand there
    visit.page.keyboard.press("Control+V")
    visit.expect(own(visit)).to_have_text(["image.png"])


@pytest.mark.parametrize("text", ["image.png", ADDRESS])
def test_a_picture_that_was_copied_with_its_name_or_address_is_a_picture_in_a_field_too(
    visit: Visit, text: str
) -> None:
    visit.open()
    copy(visit, text)
    visit.page.locator("#part-0").focus()
    visit.page.keyboard.press("Control+V")
    visit.expect(own(visit)).to_have_text(["image.png"])
    visit.expect(visit.page.locator("#part-0")).to_have_value("")


def test_a_folder_gives_what_can_be_opened_and_names_the_rest(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    names = ("a.png", "deep/b.png", "deep/locked.png", "._a.png", ".DS_Store", "__MACOSX/a.png", "Thumbs.db")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CAT)
    (folder / "notes.txt").write_text("no picture")
    visit.open()
    visit.page.evaluate(_CANNOT_OPEN, "locked.png")
    drag(visit, "#drop", folder)
    refused = visit.page.locator("#refused bdi")
    told = "locked.png could not be opened. Check that it is still there and may be read, then add it again."
    visit.expect(refused).to_have_text([told, "notes.txt is not an image."])
    visit.expect(own(visit)).to_have_count(2)
    visit.expect(own(visit).filter(has_text="a.png")).to_have_count(1)
    visit.expect(own(visit).filter(has_text="b.png")).to_have_count(1)


def test_a_link_that_is_dropped_keeps_the_page_and_goes_into_a_field(visit: Visit) -> None:
    visit.open()
    drop(visit, ("mine.png", "image/png", CAT))
    visit.expect(own(visit)).to_have_text(["mine.png"])
    link = (("text/uri-list", ADDRESS), ("text/plain", ADDRESS))
    drag(visit, "#drop", items=link)
    visit.expect(visit.page.locator("#refused")).to_contain_text("There is no image in what you dropped")
    visit.expect(own(visit)).to_have_text(["mine.png"])
    drag(visit, "#part-0", items=link)
    visit.expect(visit.page.locator("#part-0")).to_have_value(ADDRESS)


def test_a_picture_of_the_page_that_is_dragged_is_not_added_again(visit: Visit) -> None:
    visit.open()
    visit.page.locator(".card .show img").first.drag_to(visit.page.locator("#drop"))
    drop(visit, ("mine.png", "image/png", CAT))
    visit.expect(own(visit)).to_have_text(["mine.png"])
    visit.expect(visit.page.locator("#refused")).to_be_empty()
