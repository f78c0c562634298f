"""Samples of the layout of LAION's CLIP_benchmark, and the data set that they make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from altclip.datasets import class_names
from altclip.datasets.dataset import Caption, Dataset, Request, Task
from altclip.datasets.items import DataError, LeftOut, Picture, Text
from altclip.datasets.text import decode, read_text, split_lines

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
TYPE = "dataset_type.txt"
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)?")


class Sample:
    """A picture and what is known of it: its members of one key."""

    def __init__(self, key: str, where: str) -> None:
        self.key = key
        self.where = where
        self.picture: Picture | None = None
        self.captions: dict[str, list[Text]] = {}
        self.label: int | None = None
        self._seen: set[str] = set()

    def add_picture(self, picture: Picture) -> None:
        """Raises DataError for a second picture."""
        if self.picture is not None:
            raise DataError(f"{picture.where}: its sample has a picture already, {self.picture.name}")
        self.picture = picture

    def add(self, suffix: str, content: bytes, where: str) -> None:
        """Takes a member: `txt`, `zh.txt` or `cls`. Raises DataError for what is not understood."""
        if suffix in self._seen:
            raise DataError(f"{where}: its sample has a member of this name already")
        self._seen.add(suffix)
        if suffix.endswith("npy"):
            raise DataError(f"{where}: sets with several labels a picture are not measured here")
        if suffix.endswith("txt"):
            lines = split_lines(decode(content, where))
            texts = [Text(line, f"{where} line {n}") for n, line in enumerate(lines, 1) if line.strip()]
            language = suffix.removesuffix("txt").rstrip(".")
            if language and not LANGUAGE.fullmatch(language):
                raise DataError(f"{where}: {language!r} is no language (KEY.txt or KEY.zh.txt)")
            self.captions[language] = texts
        elif suffix == "cls":
            text = decode(content, where).strip()
            if not re.fullmatch(r"[0-9]{1,9}", text):
                raise DataError(f"{where}: not the index of a class: {text[:40]!r}")
            self.label = int(text)


def make_dataset(
    root: Path, request: Request, samples: Iterable[Sample], names: list[str] | None = None
) -> Dataset:
    """The data set of these samples; files beside them in `root` name the classes and prompts.

    names: the classes' names where no file has them. Raises DataError.
    """
    task = request.task or _task(root)
    pictures: list[Picture] = []
    labels: list[int] = []
    captions: dict[str, list[Caption]] = {}
    left_out: list[LeftOut] = []
    places: list[str] = []
    for sample in samples:
        task = task or ("retrieval" if sample.captions else "classification")
        lacking = _lacking(sample, task, request)
        if sample.picture is None or lacking:
            left_out.append(LeftOut(sample.where, lacking or "no picture"))
            continue
        if task == "classification":
            labels.append(cast(int, sample.label))  # or it would be lacking
            places.append(sample.where)
        else:
            for language, texts in _by_language(sample, request).items():
                captions.setdefault(language, []).extend(Caption(len(pictures), text) for text in texts)
        pictures.append(sample.picture)
    if not pictures:
        raise DataError(f"{root}: no samples in the split {request.split!r}" + _first(left_out))
    name = root.resolve().name
    if task == "retrieval":
        return Dataset(name, "retrieval", pictures, captions, left_out=left_out)
    classes = class_names.read_classes(root / CLASS_NAMES, request, names)
    templates = class_names.read_templates(root / TEMPLATES, request)
    count = len(next(iter(classes.values())))
    for label, place in zip(labels, places, strict=True):
        if label >= count:
            raise DataError(f"{place}: class {label}, but only {count} classes have names")
    return Dataset(name, "classification", pictures, {}, labels, classes, templates, left_out)


def _task(root: Path) -> Task | None:
    """What `dataset_type.txt` says; None without it."""
    if not (root / TYPE).exists():
        return None
    word = read_text(root / TYPE).strip().lower()
    if word == "retrieval":
        return "retrieval"
    if word == "classification":
        return "classification"
    raise DataError(
        f"{root / TYPE} line 1: {word[:40]!r} is not measured here, only retrieval and classification"
    )


def _lacking(sample: Sample, task: Task, request: Request) -> str:
    if task == "classification":
        return "" if sample.label is not None else "no label (.cls)"
    if any(_by_language(sample, request).values()):
        return ""
    wanted = f" in {', '.join(request.languages)}" if request.languages else ""
    return f"no caption (.txt){wanted}"


def _by_language(sample: Sample, request: Request) -> dict[str, list[Text]]:
    """The sample's captions by language; those of the member without one are in the request's."""
    named = {language or request.language: texts for language, texts in sample.captions.items() if texts}
    return {language: texts for language, texts in named.items() if language in (request.languages or named)}


def _first(left_out: list[LeftOut]) -> str:
    return f"; {len(left_out)} were left out, the first because: {left_out[0]}" if left_out else ""
