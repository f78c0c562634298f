"""What another direction would make something else stays as it is drawn."""

import pytest

from training.sources.concepts import Concept
from training.sources.orientation import freedom

GROUPED = {
    ("twemoji", "cat"): "Animals & Nature",
    ("twemoji", "runner"): "People & Body",
    ("twemoji", "moon"): "Travel & Places",
    ("twemoji", "five"): "Symbols",
}


@pytest.mark.parametrize(
    ("name", "icon", "mirrored", "turned"),
    [
        ("cat", "cat", True, True),
        ("person running", "runner", True, False),
        ("person running facing right", "runner", False, False),
        ("crescent moon", "moon", False, False),
        ("five o’clock", "cat", False, False),
        ("keycap: 5", "five", False, False),
        ("of no group", "unknown", False, False),
    ],
)
def test_names_and_groups_decide(name: str, icon: str, mirrored: bool, turned: bool) -> None:
    concept = Concept("?", {"en": name}, {}, {"twemoji": icon})
    assert freedom(concept, GROUPED) == (mirrored, turned)


def test_a_word_within_a_word_does_not_count() -> None:
    assert freedom(Concept("?", {"en": "cupcake"}, {}, {"twemoji": "cat"}), GROUPED) == (True, True)
