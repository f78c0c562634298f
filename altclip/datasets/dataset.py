"""A data set to be measured, and what the caller says about it: pictures, captions, classes, prompts.

`shards.py` reads tar files, `folder.py` loose files, and `table.py` CSV and JSON lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from altclip.datasets.items import LeftOut, Picture, Text

Task = Literal["retrieval", "classification"]


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the index of the picture that it belongs to."""

    picture: int
    text: Text


@dataclass(frozen=True)
class Dataset:
    """What is to be measured.

    Attributes:
        name: What it is called in results.
        task: What it is for.
        pictures: The pictures.
        captions: For retrieval, by language.
        labels: For classification, the index of each picture's class.
        classes: For classification, the names of the classes by language, all of one length.
        templates: For classification, the set's own prompts by language, each with one `{}`.
        left_out: What the reader could not use.
    """

    name: str
    task: Task
    pictures: Sequence[Picture]
    captions: Mapping[str, Sequence[Caption]] = field(default_factory=dict)
    labels: Sequence[int] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True)
class Request:
    """What the caller says about the data.

    Attributes:
        path: A folder, or a table.
        split: The folder's split.
        task: None to tell from the data.
        languages: Of the captions or class names, in order; empty for what the data has.
        known: The languages of the model, by which a table's columns are recognised.
        images: The folder that a table's pictures are named from; None for the table's own.
        classnames: Files of class names by language.
        templates: Files of prompts by language.
    """

    path: Path
    split: str = "test"
    task: Task | None = None
    languages: Sequence[str] = ()
    known: Sequence[str] = ()
    images: Path | None = None
    classnames: Mapping[str, Path] = field(default_factory=dict)
    templates: Mapping[str, Path] = field(default_factory=dict)

    @property
    def language(self) -> str:
        """The language of what names none."""
        return self.languages[0] if self.languages else "en"
