"""Writes the model card and the attributions beside the weights.

The prose is in `card.md` and `attribution.md`; every figure comes from the evaluation's `results.json`, every
licence from the packages themselves.
"""

import dataclasses
from pathlib import Path
from typing import Any

from training.files import read_json
from training.recipe import LANGUAGES, Schedule
from training.release.manifest import write_manifest
from training.sources.fetch import package_folder
from training.sources.looks import ALL_LOOKS, EVALUATED, PACKAGES, TRAINING

HERE = Path(__file__).parent
AUTHORS = {
    "@lobehub/fluent-emoji-3d": "Microsoft Corporation, <https://github.com/microsoft/fluentui-emoji>",
    "@fontsource/noto-emoji": "Google Inc., <https://github.com/googlefonts/noto-emoji>",
    "@fontsource/noto-sans-symbols-2": "The Noto Project Authors, <https://github.com/notofonts/symbols>",
}
"""Of packages that do not say whose the drawings are."""


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
    """A heading and a retrieval table for each set that was never seen."""
    return "\n\n".join(
        f"### {style} (never seen; {results['styles'][style]['pictures']} pictures)\n\n"
        + retrieval_table(results["styles"][style])
        for style in results["unseen_styles"]
    )


def ensemble_table(results: dict[str, Any]) -> str:
    """Zero-shot top-1 of the bare name and of the ensemble, per language and set that was never seen."""
    unseen, rows = results["unseen_styles"], []
    for language in LANGUAGES:
        row = [language]
        for style in unseen:
            figures = results["styles"][style]["zero_shot"][language]
            bare, ensemble = figures["name"]["R@1"], figures["ensemble"]["R@1"]
            row.append(f"{bare:.1f} → {ensemble:.1f} ({ensemble - bare:+.1f})")
        rows.append(row)
    return table(["language", *unseen], rows)


def style_table(results: dict[str, Any]) -> str:
    """Mean recall, confidence and accuracy of every set."""
    kinds = dict.fromkeys(results.get("held_out_styles", ()), "held out")
    kinds |= dict.fromkeys(results["unseen_styles"], "never seen")
    rows = []
    for style, figures in results["styles"].items():
        honest = f"{figures['mean_confidence']:.1f} / {figures['mean_accuracy']:.1f}"
        kind = kinds.get(style, "trained on")
        rows.append([style, kind, str(figures["pictures"]), recalls(figures["mean"]), honest])
    return table(["style", "", "pictures", "mean R@1/5/10", "confidence / accuracy"], rows)


def confusion_table(results: dict[str, Any]) -> str:
    """The commonest wrong first answers."""
    rows = [[each["shown"], each["taken_for"], str(each["count"])] for each in results["confusions"]]
    return table(["shown", "taken for", "questions"], rows)


def curve_table(results: dict[str, Any]) -> str:
    """R@1/10 of picture → prototype while training, on the sets that were never seen."""
    unseen = results["unseen_styles"]
    columns = [f"{style} {cutoff}" for style in unseen for cutoff in ("R@1", "R@10")]
    rows = [
        [str(point["step"]), *(f"{point[style][place]:.1f}" for style in unseen for place in (0, 2))]
        for point in results["learning_curves"]["pictures"]
    ]
    return table(["step", *columns], rows)


def source_table(work: Path) -> str:
    """Every package of drawings: what it was used for, its licence and its author."""
    rows = []
    for look in ALL_LOOKS.values():
        folder = package_folder(work, look.package)
        package = read_json(folder / "package.json")
        about = read_json(folder / "info.json") if (folder / "info.json").exists() else None
        use = "training" if look in TRAINING else "choosing the recipe, never trained on"
        use = "evaluation only, never trained on" if look in EVALUATED else use
        rows.append(
            [
                f"{about['name'] if about else look.name} (`{look.package}`)",
                use,
                about["license"]["title"] if about else package["license"],
                f"{about['author']['name']}, <{about['author']['url']}>" if about else AUTHORS[look.package],
            ]
        )
    return table(["source", "used for", "licence", "by"], rows)


def write_card(work: Path, folder: Path, schedule: Schedule) -> None:
    """Writes README.md and ATTRIBUTION.md into the exported `folder` and renews its manifest."""
    results: dict[str, Any] = read_json(folder / "results.json")
    on_prototype = [f"{results['names_on_prototype'][language]:.1f}" for language in LANGUAGES]
    card = (HERE / "card.md").read_text(encoding="utf-8")
    card = card.format(
        concepts=f"{results['concepts']:,}",
        languages=", ".join(LANGUAGES),
        sharing=sum(results["concepts_sharing_a_name"].values()),
        looks=len(TRAINING),
        logit_scale=f"{results['logit_scale']:.1f}",
        templates=results["ensemble_templates"],
        style_table=style_table(results),
        unseen_tables=unseen_tables(results),
        confusion_table=confusion_table(results),
        prototype_table=table(list(LANGUAGES), [on_prototype]),
        ensemble_table=ensemble_table(results),
        curve_table=curve_table(results),
        packages="\n".join(f"- `{package}` {version}" for package, version in PACKAGES.items()),
        **dataclasses.asdict(schedule),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    attribution = (HERE / "attribution.md").read_text(encoding="utf-8").format(sources=source_table(work))
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
    write_manifest(folder)
