"""Classification by the server's own prompts, which only its ClassifyImage knows: pictures go there once a
language.

    pictures ─▶ ClassifyImage, the six best labels ─▶ rank of the true one ─▶ store     a few calls at a time

Six, so that a tie across the fifth place is seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from altclip.bulk.embedding import unreadable
from altclip.bulk.progress import Progress
from altclip.bulk.tries import PASSING, is_last, pause_after
from altclip.datasets.items import LeftOut, mark_of
from altclip.errors import AltClipError, InvalidRequest, Unavailable
from altclip.evaluate.evaluation import Evaluation
from altclip.results import LabelScore

LANGUAGES = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")
"""Those that ClassifyImage has prompts for."""

BEST = 6
MISSED = BEST + 1
"""The rank of a label that is not among the best."""

CALLS, CALL_IMAGES, CALL_BYTES = 4, 32, 8 << 20

PATIENCE = 600.0
"""Seconds of waiting that the server may ask for before its refusals count as failures: a large label set
takes minutes on a CPU."""

Ints = npt.NDArray[np.int64]
Batch = list[tuple[int, bytes]]


@dataclass
class _Answer:
    """What one call found: (row, rank with ties won, rank with ties lost), pictures that were refused, and
    how many labels had a prompt that was cut."""

    ranks: list[tuple[int, int, int]] = field(default_factory=list)
    refused: list[LeftOut] = field(default_factory=list)
    cut: int = 0


def classify(evaluation: Evaluation, language: str, names: Sequence[str]) -> tuple[Ints, Ints, int]:
    """The rank of each picture's true label, with ties won and with ties lost; 0 for a picture that was left
    out. And the number of labels of which a prompt was cut."""
    pictures, labels = evaluation.dataset.pictures, evaluation.dataset.labels
    asked = str(mark_of(language, *names))
    marks = [
        mark_of(asked, str(label), str(picture.mark()))
        for picture, label in zip(pictures, labels, strict=True)
    ]
    # One row more, the last, keeps the number of labels that were cut.
    store = evaluation.store(f"server-{language}", [*marks, mark_of(asked)], 2, np.int32)
    todo = [int(row) for row in np.flatnonzero(~store.done[:-1])]
    done = len(pictures) - len(todo)
    progress = Progress(evaluation.shown, f"server's prompts in {language}", len(pictures))
    progress(done)
    try:
        for answer in _in_parallel(
            lambda batch: _ask(evaluation, language, names, batch), _batches(evaluation, todo)
        ):
            for row, best, worst in answer.ranks:
                store.put(row, (best, worst))
            if answer.ranks:  # else no call was answered that could tell
                store.put(len(pictures), (answer.cut, 0))
            evaluation.leave_out(answer.refused)
            done += len(answer.ranks)
            progress(done)
    finally:
        store.commit()
        progress.end(done)
    ranks = np.where(store.done[:-1, None], store.values[:-1], 0).astype(np.int64)
    return ranks[:, 0], ranks[:, 1], int(store.values[-1, 0])


def rank_among(found: Sequence[LabelScore], label: int) -> tuple[int, int]:
    """The rank of a label, with ties won and with ties lost, among the best ones; `MISSED` where it is not
    there."""
    own = next((score.probability for score in found if score.index == label), None)
    if own is None:
        return MISSED, MISSED
    return 1 + sum(s.probability > own for s in found), sum(s.probability >= own for s in found)


def _ask(evaluation: Evaluation, language: str, names: Sequence[str], batch: Batch) -> _Answer:
    """One call, made again without the pictures that the server refuses."""
    service, pictures, labels = evaluation.service, evaluation.dataset.pictures, evaluation.dataset.labels
    answer = _Answer()
    failures = 0
    told_to_wait = 0.0
    while batch and not service.ended.is_set():
        try:
            found = service.client.classify(
                [content for _, content in batch],
                names,
                model=service.model.name,
                language=language,
                top_k=BEST,
                priority="bulk",
                timeout=math.inf,
            )
            error: AltClipError = Unavailable("the service does not tell the revision of its weights")
            if service.check(found.revision):
                answer.cut = len(found.truncated)
                for (row, _), best in zip(batch, found.results, strict=True):
                    answer.ranks.append((row, *rank_among(best, labels[row])))
                return answer
        except InvalidRequest as refusal:
            reasons = dict(_refused(refusal))
            if not reasons:
                raise
            answer.refused += [LeftOut(pictures[batch[i][0]].where, reason) for i, reason in reasons.items()]
            batch = [each for i, each in enumerate(batch) if i not in reasons]
            continue
        except PASSING as passing:
            error = passing
        if error.retry_after and told_to_wait < PATIENCE:
            told_to_wait += error.retry_after
            service.wait(error.retry_after)
        elif is_last(failures):
            raise error
        else:
            service.wait(pause_after(failures, error.retry_after))
            failures += 1
    return answer


def _refused(error: InvalidRequest) -> Iterator[tuple[int, str]]:
    """The pictures of a call that the server names, by their index, and what is wrong with them."""
    for violation in error.fields:
        if found := re.match(r"images\[(\d+)\]", violation.field):
            yield int(found[1]), f"{error.reason}: {violation.description}"


def _batches(evaluation: Evaluation, rows: Sequence[int]) -> Iterator[Batch]:
    """The pictures of these rows, some at a time; one that cannot be read is left out."""
    batch: Batch = []
    size = 0
    for row in rows:
        picture = evaluation.dataset.pictures[row]
        try:
            content = picture.read()
        except (OSError, EOFError) as error:
            evaluation.leave_out([LeftOut(picture.where, unreadable(picture, error))])
            continue
        if batch and (len(batch) == CALL_IMAGES or size + len(content) > CALL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row, content))
        size += len(content)
    if batch:
        yield batch


def _in_parallel(ask: Callable[[Batch], _Answer], batches: Iterator[Batch]) -> Iterator[_Answer]:
    """The answers as they come, with a few calls under way and no more batches in memory than those."""
    waiting: set[Future[_Answer]] = set()
    threads = ThreadPoolExecutor(CALLS, "altclip-evaluate")
    try:
        for batch in batches:
            waiting.add(threads.submit(ask, batch))
            if len(waiting) == CALLS:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in finished)
        for last in as_completed(waiting):
            yield last.result()
    finally:
        # Without waiting: whoever interrupts this ends the evaluation and closes the client next. That ends
        # pauses and calls, or Python would wait for these threads at its exit.
        threads.shutdown(wait=False, cancel_futures=True)
