"""Which concepts exist, what nine languages call them, and which picture each style has of them.

A concept is a character that CLDR names in all nine languages, that OpenMoji draws and that at least one
training style draws. Styles key their icons by name; those that ship a `chars.json` say which code points a
name stands for, and the names of the others (and of old aliases) are looked up in the `chars.json` of all
of them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from training.files import read_json
from training.recipe import LANGUAGES
from training.sources.fetch import package_folder
from training.sources.fonts import open_font
from training.sources.icons import icons_of_concepts
from training.sources.looks import ALL_LOOKS, TRAINING, Look

ALL_STYLES = tuple(
    look.name for look in ALL_LOOKS.values() if not (look.icons or look.font or look.kind == "painted")
)
TRAINING_STYLES = tuple(look.name for look in TRAINING if look.name in ALL_STYLES)

VARIATION_SELECTOR = 0xFE0F


@dataclass(frozen=True)
class Concept:
    """One character, its names and keywords per language, and its icon's name per style."""

    character: str
    names: dict[str, str]
    keywords: dict[str, tuple[str, ...]]
    icons: dict[str, str]


def code_points(character: str) -> str:
    """The key by which icon sets are joined: lower-case hex code points, without variation selectors."""
    return "-".join(f"{ord(part):x}" for part in character if ord(part) != VARIATION_SELECTOR)


def normalised(key: str) -> str:
    """A `chars.json` key in the form of `code_points`: no FE0F, no leading zeros."""
    return "-".join(f"{int(part, 16):x}" for part in key.split("-") if int(part, 16) != VARIATION_SELECTOR)


def icon_set(work: Path, package: str) -> dict[str, Any]:
    """The package's `icons.json`, as Iconify publishes it."""
    icons: dict[str, Any] = read_json(package_folder(work, package) / "icons.json")
    return icons


def _icons_by_code_points(work: Path) -> dict[str, dict[str, str]]:
    """Style → code points → icon name."""
    sets = {style: icon_set(work, ALL_LOOKS[style].package) for style in ALL_STYLES}
    tables: dict[str, dict[str, str]] = {}
    for style in ALL_STYLES:
        table = tables[style] = {}
        for key, name in read_json(package_folder(work, f"@iconify-json/{style}") / "chars.json").items():
            table.setdefault(normalised(key), name)
    meaning: dict[str, str] = {}
    for style in ALL_STYLES:
        for key, name in tables[style].items():
            meaning.setdefault(name, key)
    for style in ALL_STYLES:  # a set's own aliases: other names for an icon whose code points are known
        for alias, entry in sets[style].get("aliases", {}).items():
            if entry["parent"] in meaning and set(entry) == {"parent"}:
                meaning.setdefault(alias, meaning[entry["parent"]])
    for style in ALL_STYLES:
        for name in (*sets[style]["icons"], *sets[style].get("aliases", {})):
            if name in meaning:
                tables[style].setdefault(meaning[name], name)
    return tables


@cache
def load_concepts(work: Path) -> tuple[Concept, ...]:
    """All concepts, in CLDR's English order. A position in this tuple is a class number everywhere."""
    annotations = {}
    for language in LANGUAGES:
        path = package_folder(work, "cldr-annotations-full") / "annotations" / language / "annotations.json"
        annotations[language] = read_json(path)["annotations"]["annotations"]
    tables = _icons_by_code_points(work)
    concepts = []
    for character in annotations["en"]:
        entries = {language: annotations[language].get(character, {}) for language in LANGUAGES}
        key = code_points(character)
        icons = {style: tables[style][key] for style in ALL_STYLES if key in tables[style]}
        if not all("tts" in entry for entry in entries.values()) or "openmoji" not in icons:
            continue
        if not any(style in icons for style in TRAINING_STYLES):
            continue
        concepts.append(
            Concept(
                character=character,
                names={language: entry["tts"][0] for language, entry in entries.items()},
                keywords={language: tuple(entry.get("default", ())) for language, entry in entries.items()},
                icons=icons,
            )
        )
    return tuple(concepts)


def drawings_of(work: Path, concepts: tuple[Concept, ...], look: Look) -> list[tuple[int, str]]:
    """(class number, icon's name) of every drawing of the look.

    Of a painted look the file below `work` stands for the name; of a font, the character.
    """
    if look.font is not None:
        font = open_font(work, look)
        return [
            (number, each.character) for number, each in enumerate(concepts) if font.draws(each.character)
        ]
    if look.kind == "painted":
        folder = package_folder(work, look.package) / "assets"
        files = {normalised(path.stem): path for path in sorted(folder.glob("*.webp"))}
        keys = [code_points(concept.character) for concept in concepts]
        return [
            (number, str(files[key].relative_to(work))) for number, key in enumerate(keys) if key in files
        ]
    if not look.icons:
        return [
            (number, each.icons[look.name]) for number, each in enumerate(concepts) if look.name in each.icons
        ]
    numbers = {concept.names["en"]: number for number, concept in enumerate(concepts)}
    icons = icon_set(work, look.package)["icons"]
    shown = [name for name, icon in icons.items() if not icon.get("hidden")]
    return [(numbers[concept], icon) for concept, icon in icons_of_concepts(look.name, shown)]
