"""What is only evaluated is never learned from, and the list of icons' names is read as it is written."""

from pathlib import Path

import pytest

from training.sources.icons import base_name, icons_of_concepts, listed_names
from training.sources.looks import ALL_LOOKS, EVALUATED, HELD_OUT, PACKAGES, TRAINING

SHARE_ALIKE = {"openmoji", "emojione-v1"}


def test_no_evaluated_held_out_or_share_alike_set_is_learned_from() -> None:
    assert {look.name for look in EVALUATED} == {
        "fluent-emoji-flat",
        "openmoji",
        "fxemoji",
        "streamline-emojis",
    }
    learned = {look.name for look in TRAINING}
    assert not learned & ({look.name for look in (*EVALUATED, *HELD_OUT)} | SHARE_ALIKE)


def test_every_look_has_one_use_and_a_pinned_package() -> None:
    assert len(ALL_LOOKS) == len(TRAINING) + len(HELD_OUT) + len(EVALUATED)
    assert len(PACKAGES) == len({look.package for look in ALL_LOOKS.values()}) + 1  # the names'
    assert all(version.count(".") == 2 for version in PACKAGES.values())


@pytest.mark.parametrize(
    ("icon", "of_set", "name"),
    [
        ("cat", "lucide", "cat"),
        ("cat-fill", "ph", "cat"),
        ("animal-cat-20-regular", "fluent", "animal-cat"),
        ("baseline-umbrella", "ic", "umbrella"),
        ("baseline-umbrella", "tabler", "baseline-umbrella"),
    ],
)
def test_endings_for_weight_and_size_are_no_part_of_a_name(icon: str, of_set: str, name: str) -> None:
    assert base_name(icon, of_set) == name


def test_the_list_names_each_icon_once() -> None:
    names, single = listed_names()
    assert len(names) > 500
    assert names["cat"] == "cat face"
    assert set(names.values()) > {"rocket", "umbrella", "lion"}
    assert all(concept is None or concept for concept in single.values())


def test_icons_that_are_not_listed_are_not_used() -> None:
    found = icons_of_concepts("tabler", ["cat", "cat-filled", "brand-cat-of-no-list", "rocket"])
    assert found == [("cat face", "cat"), ("cat face", "cat-filled"), ("rocket", "rocket")]


def test_a_line_of_the_list_can_add_and_leave_out_icons_of_one_set(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("# a remark\ncat: cat, +tabler:kitty, -mdi:cat\nkeycap: 1: number-1\n")
    names, single = listed_names(path)
    assert names == {"cat": "cat", "number-1": "keycap: 1"}
    assert single == {("tabler", "kitty"): "cat", ("mdi", "cat"): None}
