"""What may be turned or mirrored and still be what it was: a cat may, an arrow, a clock or a flag may not.

The groups are Unicode's, as two icon sets publish them.
"""

import re
from pathlib import Path

from training.files import read_json
from training.sources.concepts import Concept
from training.sources.fetch import package_folder

GROUPED_BY = ("twemoji", "noto")
"""Sets whose `metadata.json` says which group of emoji each icon is in; the first that knows one decides."""

TURNED_GROUPS = frozenset({"Animals & Nature", "Food & Drink", "Objects", "Activities", "Travel & Places"})
MIRRORED_GROUPS = TURNED_GROUPS | {"People & Body", "Smileys & Emotion"}

_ORIENTED = re.compile(
    r"\b(left|right|leftwards|rightwards|up|down|arrows?|increasing|decreasing|departure|arrival|moon|"
    r"o’clock|thirty|clock|letters?|numbers|latin|calendar|input)\b"
)
"""Words in English names of things that another direction would make other things, or unreadable."""


def groups(work: Path) -> dict[tuple[str, str], str]:
    """(set, icon's name) → group."""
    found = {}
    for style in GROUPED_BY:
        metadata = read_json(package_folder(work, f"@iconify-json/{style}") / "metadata.json")
        for group, icons in metadata["categories"].items():
            found.update({(style, icon): group for icon in icons})
    return found


def freedom(concept: Concept, grouped: dict[tuple[str, str], str]) -> tuple[bool, bool]:
    """Whether the concept's drawings may be mirrored, and whether they may be turned far."""
    known = [grouped[style, icon] for style, icon in concept.icons.items() if (style, icon) in grouped]
    if not known or _ORIENTED.search(concept.names["en"]):
        return False, False
    return known[0] in MIRRORED_GROUPS, known[0] in TURNED_GROUPS
