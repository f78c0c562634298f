"""The demo's pictures and their names in nine languages: those that the playground shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "service/frontend/http/playground/page/pictures"
LANGUAGES = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")


@dataclass(frozen=True)
class Picture:
    """A picture file, and what it shows in each language."""

    path: Path
    concept: str
    names: Mapping[str, str]


def load() -> list[Picture]:
    """All pictures, in the order of `names.json`."""
    listed = json.loads((FOLDER / "names.json").read_text("utf-8"))
    return [Picture(FOLDER / entry["file"], entry["concept"], entry["names"]) for entry in listed]
