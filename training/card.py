"""Writes the model card and the attributions beside the weights.

The prose is in `card.md` and `attribution.md`; every figure comes from the evaluation's `results.json`.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from training.export import write_manifest
from training.fetch import read_json
from training.recipe import ALL_STYLES, LANGUAGES, PACKAGES, TRAINING_STYLES, UNSEEN_STYLES, Schedule

HERE = Path(__file__).parent


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def recalls(figures: dict[str, float]) -> str:
    """R@1/5/10 in one cell."""
    return " / ".join(f"{figures[cutoff]:.1f}" for cutoff in ("R@1", "R@5", "R@10"))


def retrieval_table(style: dict[str, Any]) -> str:
    """R@1/5/10 both ways for each language, and the mean over all of them."""
    rows = [
        [language, recalls(directions["text_to_picture"]), recalls(directions["picture_to_text"])]
        for language, directions in style["retrieval"].items()
    ]
    rows.append(["mean of all", recalls(style["mean"]), ""])
    return table(["language", "text → picture, R@1/5/10", "picture → text, R@1/5/10"], rows)


def unseen_tables(results: dict[str, Any]) -> str:
    """A heading and a retrieval table for each unseen style."""
    return "\n\n".join(
        f"### {style} (never seen; {results['styles'][style]['pictures']} pictures)\n\n"
        + retrieval_table(results["styles"][style])
        for style in UNSEEN_STYLES
    )


def ensemble_table(results: dict[str, Any]) -> str:
    """Zero-shot top-1 of the bare name and of the ensemble, per language and unseen style."""
    rows = []
    for language in LANGUAGES:
        row = [language]
        for style in UNSEEN_STYLES:
            figures = results["styles"][style]["zero_shot"][language]
            bare, ensemble = figures["name"]["R@1"], figures["ensemble"]["R@1"]
            row.append(f"{bare:.1f} → {ensemble:.1f} ({ensemble - bare:+.1f})")
        rows.append(row)
    return table(["language", *UNSEEN_STYLES], rows)


def style_table(results: dict[str, Any]) -> str:
    """Mean recall, confidence and accuracy of every style."""
    rows = []
    for style in ALL_STYLES:
        figures = results["styles"][style]
        kind = "trained on" if style in TRAINING_STYLES else "never seen"
        honest = f"{figures['mean_confidence']:.1f} / {figures['mean_accuracy']:.1f}"
        rows.append([style, kind, str(figures["pictures"]), recalls(figures["mean"]), honest])
    return table(["style", "", "pictures", "mean R@1/5/10", "confidence / accuracy"], rows)


def curve_table(results: dict[str, Any]) -> str:
    """The unseen styles' recall against the prototypes while training."""
    columns = [f"{style} {cutoff}" for style in UNSEEN_STYLES for cutoff in ("R@1", "R@10")]
    rows = [
        [str(point["step"]), *(f"{point[column]:.1f}" for column in columns)]
        for point in results["learning_curve"]
    ]
    return table(["step", *columns], rows)


def write_card(folder: Path, schedule: Schedule) -> None:
    """Writes README.md and ATTRIBUTION.md into the exported `folder` and renews its manifest."""
    results: dict[str, Any] = read_json(folder / "results.json")
    on_prototype = [f"{results['names_on_prototype'][language]:.1f}" for language in LANGUAGES]
    card = (HERE / "card.md").read_text(encoding="utf-8")
    card = card.format(
        concepts=f"{results['concepts']:,}",
        languages=", ".join(LANGUAGES),
        sharing=sum(results["concepts_sharing_a_name"].values()),
        logit_scale=f"{results['logit_scale']:.1f}",
        templates=results["ensemble_templates"],
        style_table=style_table(results),
        unseen_tables=unseen_tables(results),
        prototype_table=table(list(LANGUAGES), [on_prototype]),
        ensemble_table=ensemble_table(results),
        curve_table=curve_table(results),
        packages="\n".join(f"- `{package}` {version}" for package, version in PACKAGES.items()),
        **dataclasses.asdict(schedule),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(HERE / "attribution.md", folder / "ATTRIBUTION.md")
    write_manifest(folder)
