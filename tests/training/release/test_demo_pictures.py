"""The demo's pictures: small, named in nine languages, with their licence."""

import json

from demo.pictures import FOLDER as PICTURES
from training.recipe import LANGUAGES

MOST_BYTES = 400_000


def test_every_picture_is_named_in_nine_languages() -> None:
    listed = json.loads((PICTURES / "names.json").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in listed} == {path.name for path in PICTURES.glob("*.png")}
    assert all(set(entry["names"]) == set(LANGUAGES) for entry in listed)
    assert len(listed) >= 48


def test_they_are_small_and_say_whose_they_are() -> None:
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < MOST_BYTES
    assert "Microsoft" in (PICTURES / "LICENSE.txt").read_text(encoding="utf-8")
