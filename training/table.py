"""Writes the unseen styles as tables for `altclip evaluate`: pictures, class numbers, names in all languages.

work/evaluation/openmoji.jsonl      {"image": "openmoji/0.png", "label": 0, "en": "grinning face", …}
work/evaluation/openmoji/0.png      128 pixels on white, as in the model card's figures
"""

import json
from pathlib import Path

from training.concepts import load_concepts
from training.evaluate import draw_style
from training.recipe import UNSEEN_STYLES


def write_tables(work: Path) -> None:
    """One table and one folder of pictures for each unseen style."""
    concepts = load_concepts(work)
    for style in UNSEEN_STYLES:
        folder = work / "evaluation" / style
        folder.mkdir(parents=True, exist_ok=True)
        pictures, labels = draw_style(work, concepts, style)
        rows = []
        for picture, label in zip(pictures, labels.tolist(), strict=True):
            picture.save(folder / f"{label}.png")
            rows.append({"image": f"{style}/{label}.png", "label": label, **concepts[label].names})
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        folder.with_suffix(".jsonl").write_text("".join(lines), encoding="utf-8")
