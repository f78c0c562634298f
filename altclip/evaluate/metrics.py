"""What is measured, as pure functions of embeddings: ranks, recall at k, accuracy. Imports numpy only.

Definitions are those of LAION's CLIP_benchmark. A query is answered at k when at least one of its positives
is among the k best candidates. Image retrieval (text→image) averages over the captions, text retrieval
(image→text) over the images, whatever number of captions an image has.

Equal scores. A candidate that scores the same as the positive, to within `TIE`, counts as ranked before it: a
model that gives everything the same embedding finds nothing. `Ranks.best` holds the rank with all ties won,
so that what the order of equal scores could change is told beside the figures, never decided by chance.

Scores are computed in double precision and in blocks: no matrix of all queries by all candidates is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TIE = 1e-7
"""Cosines closer than this are equal: float32 embeddings of length 1 cannot tell them apart."""

RECALL_AT = (1, 5, 10)
"""The k of the tables."""

QUERY_BLOCK = 1024
CANDIDATE_BLOCK = 4096


class Rows(Protocol):
    """Embeddings, one a row: an array, or something that reads its rows when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Integers, /) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the best positive of each query stands among the candidates, from 1.

    Attributes:
        best: int64 [queries], with every tie won.
        worst: int64 [queries], with every tie lost: what the figures are made of.
        candidates: How many candidates there were.
    """

    best: Integers
    worst: Integers
    candidates: int

    def recall_at(self, k: int) -> float | None:
        """The share of queries with a positive among the k best, from 0 to 1; None with fewer than k
        candidates, where it would say nothing, and without queries."""
        if k > self.candidates or not len(self.worst):
            return None
        return float(np.mean(self.worst <= k))

    def undecided_at(self, k: int) -> int:
        """How many queries the order of equal scores would answer or not at k; counted as not answered."""
        return int(np.sum((self.best <= k) & (self.worst > k)))


def normalized(vectors: npt.NDArray[Any]) -> Doubles:
    """[n, dimension] in double precision, each row of length 1; a row of zeros stays one."""
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    divided: Doubles = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return divided


def retrieval_ranks(
    images: Rows,
    texts: Rows,
    owners: npt.NDArray[np.integer[Any]],
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Ranks, Ranks]:
    """The ranks of both directions, (text→image, image→text), in one pass over the scores.

    Args:
        images: [n, dimension].
        texts: [m, dimension].
        owners: [m], the row in `images` that each text belongs to. Every image owns a text.
        progress: Told the number of texts that are done.
    """
    owners = np.asarray(owners, np.int64)
    if not len(owners) == len(texts) or np.setdiff1d(np.arange(len(images)), owners).size:
        raise ValueError("every text has an owner, and every image owns a text")
    own = np.concatenate(
        [np.empty(0)] + [_own_scores(images, texts, owners, b) for b in _blocks(len(texts), QUERY_BLOCK)]
    )
    best_own = np.full(len(images), -np.inf)
    np.maximum.at(best_own, owners, own)
    # An image's own texts that score as its best does are positives, not ties.
    own_level = np.bincount(owners[own >= best_own[owners] - TIE], minlength=len(images))
    above_text, level_text = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    above_image, level_image = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
    for rows in _blocks(len(texts), QUERY_BLOCK):
        queries = normalized(texts[rows])
        for columns in _blocks(len(images), CANDIDATE_BLOCK):
            scores = queries @ normalized(images[columns]).T
            for reference, axis, above, level in (
                (own[rows, None], 1, above_text[rows], level_text[rows]),
                (best_own[None, columns], 0, above_image[columns], level_image[columns]),
            ):
                higher = scores > reference + TIE
                above += higher.sum(axis)
                level += (scores >= reference - TIE).sum(axis) - higher.sum(axis)
        progress(min(rows.stop, len(texts)))
    return (
        Ranks(above_text + 1, above_text + level_text, len(images)),
        Ranks(above_image + 1, above_image + 1 + level_image - own_level, len(texts)),
    )


def label_ranks(images: Rows, classes: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]]) -> Ranks:
    """The rank of each image's true class among all classes by cosine.

    Args:
        images: [n, dimension].
        classes: [classes, dimension], such as `class_vector` makes.
        labels: [n], the index of each image's class.
    """
    columns = normalized(classes).T
    best, worst = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
    for rows in _blocks(len(images), QUERY_BLOCK):
        scores = normalized(images[rows]) @ columns
        own = np.take_along_axis(scores, np.asarray(labels[rows], np.int64)[:, None], axis=1)
        best[rows] = (scores > own + TIE).sum(axis=1) + 1
        worst[rows] = (scores >= own - TIE).sum(axis=1)
    return Ranks(best, worst, classes.shape[0])


def class_vector(prompts: npt.NDArray[Any]) -> Doubles:
    """The vector of a class, [dimension], from the embeddings of its prompts, [templates, dimension]: each of
    length 1 before the average, and the average of length 1 again."""
    vector: Doubles = normalized(normalized(prompts).mean(axis=0, keepdims=True))[0]
    return vector


def mean_per_class_recall(ranks: Ranks, labels: npt.NDArray[np.integer[Any]]) -> float | None:
    """The share of images at rank 1, averaged over the classes that have images. None without images."""
    if not len(labels):
        return None
    counts = np.bincount(labels)
    hits = np.bincount(labels, weights=ranks.worst <= 1)
    return float(np.mean(hits[counts > 0] / counts[counts > 0]))


def mean_recall(recalls: Sequence[float | None]) -> float | None:
    """The mean of those recalls that are defined; None where none is."""
    known = [recall for recall in recalls if recall is not None]
    return float(np.mean(known)) if known else None


def _own_scores(images: Rows, texts: Rows, owners: npt.NDArray[Any], rows: slice) -> Doubles:
    """The score of each text of a block with its own image, [block]."""
    ids, position = np.unique(owners[rows], return_inverse=True)
    scores: Doubles = np.einsum("ij,ij->i", normalized(texts[rows]), normalized(images[ids])[position])
    return scores


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
