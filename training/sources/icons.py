"""Which icons of the icon sets show which concept: `icon_names.txt`, read and matched exactly.

A set names an icon's weights and styles by endings ("cat", "cat-fill", "cat-20-regular"); `base_name` takes
them off. Nothing else is guessed: a name that is not in the list is not used.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("icon_names.txt")
MOST_OF_A_SET = 4
"""Of one concept: sets with many weights would else outweigh the others."""

_ENDING = re.compile(
    r"-(outline|outlined|bold|fill|filled|linear|duotone|thin|light|broken|rounded|sharp|round|line|twotone|two-tone|"
    r"solid|regular|remix|stroke|alt|variant|duo|flat|color|icon|print|\d+)$"
)
_BEGINNING = re.compile(r"^(baseline|outline|round|sharp|twotone|i|md|ios)-")
_SETS_WITH_BEGINNINGS = frozenset({"ic", "cil", "ion"})
_LINE = re.compile(r"(keycap: \d|[^:]+): (.*)")


def base_name(icon: str, of_set: str) -> str:
    """An icon's name without its set's endings for weight, style and size."""
    name = _BEGINNING.sub("", icon) if of_set in _SETS_WITH_BEGINNINGS else icon
    while (shorter := _ENDING.sub("", name)) != name:
        name = shorter
    return name


@cache
def listed_names(path: Path = LIST) -> tuple[dict[str, str], dict[tuple[str, str], str | None]]:
    """Base name → concept's English name; and (set, base name) → concept, or None where it is left out."""
    names: dict[str, str] = {}
    single: dict[tuple[str, str], str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if line.startswith("#") or match is None:
            continue
        for entry in match[2].split(", "):
            if entry[0] in "+-" and ":" in entry:
                of_set, _, icon = entry[1:].partition(":")
                if entry[0] == "+":
                    single[of_set, icon] = match[1]
                else:
                    single.setdefault((of_set, icon), None)
            else:
                names[entry] = match[1]
    return names, single


def icons_of_concepts(of_set: str, icons: Iterable[str]) -> list[tuple[str, str]]:
    """(concept's English name, icon) for every icon of the set that the list knows."""
    names, single = listed_names()
    found: list[tuple[str, str]] = []
    count: dict[str, int] = {}
    for icon in icons:
        name = base_name(icon, of_set)
        concept = single.get((of_set, name), names.get(name))
        if concept is not None and count.get(concept, 0) < MOST_OF_A_SET:
            count[concept] = count.get(concept, 0) + 1
            found.append((concept, icon))
    return found
