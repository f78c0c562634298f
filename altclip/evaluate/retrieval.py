"""Retrieval between pictures and captions, language by language."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from altclip.bulk.progress import Progress
from altclip.bulk.store import Selected
from altclip.evaluate import metrics
from altclip.evaluate.evaluation import Evaluation
from altclip.evaluate.results import Direction, Retrieval


def measure(evaluation: Evaluation) -> Iterator[Retrieval]:
    """One result a language. Raises what `embed` raises."""
    for language in evaluation.dataset.captions:
        yield measure_language(evaluation, language)


def measure_language(evaluation: Evaluation, language: str) -> Retrieval:
    """A caption takes part when it and its picture were embedded, a picture when it has such a caption."""
    captions = evaluation.dataset.captions[language]
    images, there = evaluation.pictures()
    texts, rows = evaluation.texts(
        f"captions-{language}", [c.text for c in captions], f"captions in {language}"
    )
    owners = np.array([caption.picture for caption in captions], np.int64)
    without = len(there) - len(np.unique(owners))
    takes_part = (rows >= 0) & there[owners]
    used, owners = np.unique(owners[takes_part], return_inverse=True)
    rows = rows[takes_part]
    progress = Progress(evaluation.shown, f"ranks in {language}", len(rows))
    to_image, to_text = metrics.retrieval_ranks(
        Selected(images.values, used), Selected(texts.values, rows), owners, progress
    )
    progress.end(len(rows))  # quick but for large sets: then nothing was shown
    directions = [
        Direction(
            {k: ranks.recall_at(k) for k in metrics.RECALL_AT},
            {k: ranks.undecided_at(k) for k in metrics.RECALL_AT},
        )
        for ranks in (to_image, to_text)
    ]
    return Retrieval(
        language=language,
        images=len(used),
        captions=len(rows),
        cut_captions=int(texts.cut[rows].sum()),
        images_without_caption=without,
        text_to_image=directions[0],
        image_to_text=directions[1],
        mean_recall=metrics.mean_recall(
            [recall for each in directions for recall in each.recall_at.values()]
        ),
    )
