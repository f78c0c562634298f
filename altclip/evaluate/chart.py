"""The results as a bar chart. Matplotlib is imported only when a chart is drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from altclip.evaluate.results import Classification, Report, Retrieval
from altclip.output import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1f5a8c", "#5b9bc8", "#b3d1e6")
MISSING = "no picture was drawn: matplotlib is not installed (pip install 'altclip[evaluate]')"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(report: Report, path: Path) -> None:
    """Writes the picture; the file's suffix tells the format. Raises ValueError for one that is unknown,
    OSError."""
    # Without pyplot: no window system is looked for, and nothing is kept between pictures.
    from matplotlib.figure import Figure

    panels = _panels(report)
    languages = max((len(values) for _, series in panels for values in series.values()), default=1)
    figure = Figure(figsize=(max(6.0, 2.5 + 0.75 * languages), 1.2 + 2.8 * len(panels)), layout="constrained")
    for place, (title, series) in enumerate(panels, 1):
        _bars(figure.add_subplot(len(panels), 1, place), title, series)
    taken = f", {len(report.left_out)} left out" if report.left_out else ""
    figure.suptitle(
        f"{report.data}: {report.model['name']} ({report.model['revision']}), "
        f"{report.images:,} images{taken}",
        fontsize=10,
    )
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or None, dpi=150)


def _panels(report: Report) -> list[tuple[str, Mapping[str, Mapping[str, float | None]]]]:
    """What is drawn: titles, and within each one bars by series and language."""
    retrieval = [result for result in report.results if isinstance(result, Retrieval)]
    classification = [result for result in report.results if isinstance(result, Classification)]
    panels: list[tuple[str, Mapping[str, Mapping[str, float | None]]]] = []
    for title, directions in (
        ("text → image", {result.language: result.text_to_image for result in retrieval}),
        ("image → text", {result.language: result.image_to_text for result in retrieval}),
    ):
        ks = dict.fromkeys(k for direction in directions.values() for k in direction.recall_at)
        if ks:
            panels.append(
                (
                    title,
                    {f"R@{k}": {lang: each.recall_at[k] for lang, each in directions.items()} for k in ks},
                )
            )
    kinds = dict.fromkeys(result.prompts for result in classification)
    if kinds:
        top1 = {
            f"{kind} prompts": {each.language: each.top1 for each in classification if each.prompts == kind}
            for kind in kinds
        }
        panels.append(("zero-shot classification, top-1", top1))
    return panels


def _bars(axes: Axes, title: str, series: Mapping[str, Mapping[str, float | None]]) -> None:
    languages: Sequence[str] = list(dict.fromkeys(lang for values in series.values() for lang in values))
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        heights = [100 * (values.get(language) or 0) for language in languages]
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(languages))]
        bars = axes.bar(places, heights, width, label=name, color=COLOURS[index % len(COLOURS)])
        labels = [
            "–" if values.get(language) is None else f"{100 * (values[language] or 0):.0f}"
            for language in languages
        ]
        axes.bar_label(bars, labels, fontsize=7)
    axes.set_xticks(range(len(languages)), languages)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("%")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=len(series), frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
