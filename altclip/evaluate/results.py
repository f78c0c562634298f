"""What was measured, as it is written to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIES = (
    "A candidate whose cosine is within 1e-7 of the positive's counts as ranked before it. `undecided` tells "
    "how many queries another order of equal scores could have answered; the figures count them as not "
    "answered."
)


@dataclass(frozen=True)
class Direction:
    """One direction of retrieval: at each k the share of queries that were answered, from 0 to 1 (None: fewer
    than k candidates), and how many were undecided."""

    recall_at: Mapping[int, float | None]
    undecided: Mapping[int, int]


@dataclass(frozen=True)
class Retrieval:
    """Retrieval in one language.

    Attributes:
        language: Of the captions.
        images: How many took part, each with a caption at least.
        captions: How many took part.
        cut_captions: How many of them were over the model's tokens.
        images_without_caption: Pictures that have none in this language; they took no part.
        text_to_image: Averaged over the captions.
        image_to_text: Averaged over the images.
        mean_recall: The mean of both directions' recalls.
    """

    language: str
    images: int
    captions: int
    cut_captions: int
    images_without_caption: int
    text_to_image: Direction
    image_to_text: Direction
    mean_recall: float | None


@dataclass(frozen=True)
class Classification:
    """Zero-shot classification in one language with one kind of prompts.

    Attributes:
        language: Of the classes' names. prompts: "server" (those of ClassifyImage), "own" (the data's or the
        caller's) or "bare" (the name alone). templates: How many prompts a class had; None where only the
        server knows. images: How many took part. classes: How many names there were. cut_prompts: How many
        prompts were over the model's tokens; for "server" the number of such classes. top1: The share of
        images whose class is the best, from 0 to 1. top5: … is among the five best; None with fewer than five
        classes. mean_per_class_recall: top1 of each class, averaged over the classes that have images.
        undecided: For each k how many images the order of equal scores would have decided; counted as wrong.
    """

    language: str
    prompts: str
    templates: int | None
    images: int
    classes: int
    cut_prompts: int
    top1: float | None
    top5: float | None
    mean_per_class_recall: float | None
    undecided: Mapping[int, int]


Result = Retrieval | Classification


@dataclass(frozen=True)
class Report:
    """All that one evaluation found.

    Attributes:
        data: What the data set is called.
        path: Where it is.
        split: Its split; empty for a table.
        task: retrieval or classification.
        model: What the server told of the model.
        images: How many pictures the data has.
        left_out: What took no part, and why: {"where", "reason"} each.
        results: By language, and by prompts.
        notes: What else a reader should know.
        ties: How equal scores count.
    """

    data: str
    path: str
    split: str
    task: str
    model: Mapping[str, str | int | float]
    images: int
    left_out: Sequence[Mapping[str, str]]
    results: Sequence[Result]
    notes: Sequence[str]
    ties: str = TIES
