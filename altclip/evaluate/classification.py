"""Zero-shot classification: pictures against the names of classes, language by language, with several
prompts.

    bare      the name alone
    own       the data's templates, or the caller's
    server    what ClassifyImage has for the language, and only the server knows: see `server_prompts.py`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from altclip.bulk.store import Selected
from altclip.datasets import class_names
from altclip.datasets.items import DataError, Text
from altclip.evaluate import metrics, server_prompts
from altclip.evaluate.evaluation import Evaluation
from altclip.evaluate.results import Classification

TOP = (1, 5)
KINDS = ("server", "own", "bare")


def measure(evaluation: Evaluation, kinds: Sequence[str], notes: list[str]) -> Iterator[Classification]:
    """One result for each language and kind of prompts, where there are such prompts.

    kinds: Of `KINDS`; empty means all that there are. notes: Gets why something was not measured. Raises
    DataError for prompts that were asked for and cannot be used, and what `embed` raises.
    """
    for language, names in evaluation.dataset.classes.items():
        for kind in kinds or KINDS:
            lacking = _lacking(evaluation, kind, language, len(names))
            if not lacking:
                yield _measured(evaluation, kind, language, names)
            elif kinds:
                raise DataError(lacking)
            elif kind == "server":
                notes.append(lacking)


def _lacking(evaluation: Evaluation, kind: str, language: str, classes: int) -> str:
    """Why there are no such prompts; empty where there are."""
    if kind == "own" and language not in evaluation.dataset.templates:
        return f"no templates in {language}: give --templates {language}=FILE"
    if kind == "server":
        most = evaluation.service.model.limits.max_labels
        if language not in server_prompts.LANGUAGES:
            return f"the server has no prompts in {language}"
        if classes > most:
            return (
                f"the server's prompts in {language} were not measured: it takes {most} labels in a call, "
                f"and there are {classes} classes (altclip-server --max-labels)"
            )
    return ""


def _measured(evaluation: Evaluation, kind: str, language: str, names: Sequence[str]) -> Classification:
    if kind == "server":
        return _with_server_prompts(evaluation, language, names)
    templates = class_names.BARE if kind == "bare" else evaluation.dataset.templates[language]
    return _with_templates(evaluation, kind, language, names, templates)


def _with_templates(
    evaluation: Evaluation, kind: str, language: str, names: Sequence[str], templates: Sequence[str]
) -> Classification:
    images, there = evaluation.pictures()
    texts = [
        Text(class_names.fill(template, name), f"class {index} in {language} ({name})")
        for index, name in enumerate(names)
        for template in templates
    ]
    store, rows = evaluation.texts(f"prompts-{kind}-{language}", texts, f"{kind} prompts in {language}")
    if (rows < 0).any():
        raise DataError(
            f"{texts[int(np.argmax(rows < 0))].where}: without an embedding nothing can be classified"
        )
    of_class = rows.reshape(len(names), len(templates))
    vectors = np.stack([metrics.class_vector(np.asarray(store.values[each])) for each in of_class])
    used = np.flatnonzero(there)
    labels = np.array(evaluation.dataset.labels, np.int64)[used]
    ranks = metrics.label_ranks(Selected(images.values, used), vectors, labels)
    return _result(language, kind, len(templates), ranks, labels, int(store.cut[rows].sum()))


def _with_server_prompts(evaluation: Evaluation, language: str, names: Sequence[str]) -> Classification:
    best, worst, cut = server_prompts.classify(evaluation, language, names)
    used = np.flatnonzero(worst)
    labels = np.array(evaluation.dataset.labels, np.int64)[used]
    ranks = metrics.Ranks(best[used], worst[used], len(names))
    return _result(language, "server", None, ranks, labels, cut)


def _result(
    language: str,
    kind: str,
    templates: int | None,
    ranks: metrics.Ranks,
    labels: npt.NDArray[np.int64],
    cut: int,
) -> Classification:
    return Classification(
        language=language,
        prompts=kind,
        templates=templates,
        images=len(labels),
        classes=ranks.candidates,
        cut_prompts=cut,
        top1=ranks.recall_at(1),
        top5=ranks.recall_at(5),
        mean_per_class_recall=metrics.mean_per_class_recall(ranks, labels),
        undecided={k: ranks.undecided_at(k) for k in TOP},
    )
