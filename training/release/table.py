"""Writes the unseen sets as tables for `altclip evaluate`: pictures, class numbers, names in all languages.

work/evaluation/openmoji.jsonl      {"image": "openmoji/0.png", "label": 0, "en": "grinning face", …}
work/evaluation/openmoji/0.png      128 pixels on white, as in the model card's figures
"""

import json
from pathlib import Path

from training.drawings.as_drawn import draw_look
from training.sources.concepts import load_concepts
from training.sources.looks import EVALUATED


def write_tables(work: Path) -> None:
    """One table and one folder of pictures for each set that is only evaluated."""
    concepts = load_concepts(work)
    for look in EVALUATED:
        folder = work / "evaluation" / look.name
        folder.mkdir(parents=True, exist_ok=True)
        pictures, labels = draw_look(work, look)
        rows = []
        for picture, label in zip(pictures, labels, strict=True):
            picture.save(folder / f"{label}.png")
            rows.append({"image": f"{look.name}/{label}.png", "label": label, **concepts[label].names})
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        folder.with_suffix(".jsonl").write_text("".join(lines), encoding="utf-8")
