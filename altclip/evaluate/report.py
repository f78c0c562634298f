"""The results for people: tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from altclip import printing
from altclip.evaluate.results import Classification, Report, Retrieval

SHOWN = 10
"""How many of the things that were left out are named; JSON has all."""


def render(report: Report) -> str:
    """The whole report."""
    model = report.model
    split = f" ({report.split})" if report.split else ""
    lines = [
        f"model  {model['name']} ({model['source']}), revision {model['revision']}, {model['dtype']}",
        f"data   {report.data}{split}: {report.images:,} images, {report.task}",
        "",
    ]
    retrieval = [result for result in report.results if isinstance(result, Retrieval)]
    classification = [result for result in report.results if isinstance(result, Classification)]
    if retrieval:
        header, rows = _retrieval(retrieval)
        lines += printing.table(header, rows, right=range(1, len(header)))
    if classification:
        header, rows = _classification(classification)
        lines += printing.table(header, rows, right=range(2, len(header)))
    notes = [*report.notes, *_notes(report)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def left_out_lines(left_out: Sequence[object]) -> list[str]:
    """What took no part: the first ones by name."""
    if not left_out:
        return []
    lines = [f"left out: {len(left_out)}; the figures are over the others"]
    lines += [f"  {each}" for each in left_out[:SHOWN]]
    return lines + ([f"  … and {len(left_out) - SHOWN} more"] if len(left_out) > SHOWN else [])


def _retrieval(results: Sequence[Retrieval]) -> tuple[list[str], list[list[str]]]:
    ks = list(results[0].text_to_image.recall_at)
    header = ["language", *[f"text→image R@{k}" if k == ks[0] else f"R@{k}" for k in ks]]
    header += [f"image→text R@{k}" if k == ks[0] else f"R@{k}" for k in ks] + ["mean", "images", "captions"]
    figures = [
        [*each.text_to_image.recall_at.values(), *each.image_to_text.recall_at.values(), each.mean_recall]
        for each in results
    ]
    rows = [
        [each.language, *map(_percent, row), f"{each.images:,}", f"{each.captions:,}"]
        for each, row in zip(results, figures, strict=True)
    ]
    if len(results) > 1:
        rows.append(["mean", *[_percent(_mean(column)) for column in zip(*figures, strict=True)], "", ""])
    return header, rows


def _classification(results: Sequence[Classification]) -> tuple[list[str], list[list[str]]]:
    bare = {each.language: each.top1 for each in results if each.prompts == "bare"}
    rows = []
    for each in results:
        prompts = f"{each.prompts} ({each.templates})" if each.prompts == "own" else each.prompts
        gain = _gain(each.top1, bare.get(each.language)) if each.prompts != "bare" else ""
        figures = map(_percent, (each.top1, each.top5, each.mean_per_class_recall))
        rows.append([each.language, prompts, *figures, gain, f"{each.images:,}", f"{each.classes:,}"])
    means = {}
    if len({each.language for each in results}) > 1:
        for kind in dict.fromkeys(each.prompts for each in results):
            chosen = [(r.top1, r.top5, r.mean_per_class_recall) for r in results if r.prompts == kind]
            means[kind] = [_mean(column) for column in zip(*chosen, strict=True)]
    for kind, columns in means.items():
        gain = _gain(columns[0], means["bare"][0]) if kind != "bare" and "bare" in means else ""
        rows.append(["mean", kind, *map(_percent, columns), gain, "", ""])
    return ["language", "prompts", "top-1", "top-5", "per class", "over bare", "images", "classes"], rows


def _notes(report: Report) -> list[str]:
    notes = left_out_lines([f"{each['where']}: {each['reason']}" for each in report.left_out])
    undecided = cut = 0
    for result in report.results:
        if isinstance(result, Retrieval):
            undecided += max(
                [*result.text_to_image.undecided.values(), *result.image_to_text.undecided.values()]
            )
            cut += result.cut_captions
            if result.images_without_caption:
                without = result.images_without_caption
                notes.append(f"{result.language}: {without:,} images have no caption and took no part")
        else:
            undecided += max(result.undecided.values())
            cut += result.cut_prompts
    if undecided:
        notes.append(
            f"equal scores could have answered up to {undecided:,} more queries; counted as not answered"
        )
    if cut:
        notes.append(f"texts over the model's tokens, which were cut: {cut:,}")
    return notes


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _gain(share: float | None, bare: float | None) -> str:
    """What prompts gain over the bare name, in points."""
    return "" if share is None or bare is None else f"{100 * (share - bare):+.1f}"


def _mean(shares: Sequence[float | None]) -> float | None:
    """The mean where all are known."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None
