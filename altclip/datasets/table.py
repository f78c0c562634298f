"""Reads a table of pictures and texts: CSV, TSV or JSON lines, one row a picture.

    image,en,zh                         or one JSON object a line:
    a.jpg,a cat,一只猫                  {"image": "a.jpg", "en": ["a cat", "a black cat"], "zh": "一只猫"}
    a.jpg,a black cat,                  a picture may stand in several rows
    b.jpg,"[""a dog"",""one dog""]",    a cell may hold a JSON list of captions; an empty one holds none

`caption` names the captions of a table in one language. With a column `label` the texts are names of classes:
rows of one label are one class, and must agree on its names; or `label` is the index of a class whose names
are in files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from altclip.datasets import class_names
from altclip.datasets.dataset import Caption, Dataset, Request
from altclip.datasets.items import DataError, Picture, Text
from altclip.datasets.text import json_object, read_text, split_lines

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
IMAGE, LABEL, CAPTION = "image", "label", "caption"


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        where: Where it stands. cells: What it holds, by column. It is looked at when it is asked for: a table
        may have columns of other uses. parse: Tells the texts in a cell. Raises DataError.
    """

    where: str
    cells: Mapping[str, object]
    parse: Callable[[object, str], list[str]]

    def texts(self, column: str) -> list[str]:
        """The texts of a column; none where it is empty or missing. Raises DataError."""
        return self.parse(self.cells.get(column), f"{self.where}, column {column}")

    def one(self, column: str) -> str:
        """The only text of a column. Raises DataError for none or several."""
        texts = self.texts(column)
        if len(texts) != 1:
            raise DataError(
                f"{self.where}, column {column}: {'empty' if not texts else 'one value is wanted'}"
            )
        return texts[0]


def read_table(request: Request) -> Dataset:
    """The table as a data set. Raises DataError that names line and column."""
    rows = list(_rows(request.path))
    if not rows:
        raise DataError(f"{request.path}: no rows")
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    if IMAGE not in columns:
        raise DataError(f"{request.path}: no column {IMAGE!r} among {', '.join(columns)}")
    languages = _languages(columns, request)
    if request.task == "classification" or (request.task is None and LABEL in columns):
        return _classification(request, rows, languages)
    return _retrieval(request, rows, languages, columns)


def _retrieval(
    request: Request, rows: list[Row], languages: Mapping[str, str], columns: list[str]
) -> Dataset:
    if not languages:
        wanted = ", ".join(request.languages or request.known)
        raise DataError(
            f"{request.path}: none of its columns ({', '.join(columns)}) is a language of {wanted}"
        )
    pictures: dict[str, Picture] = {}
    places: dict[str, int] = {}
    captions: dict[str, list[Caption]] = {language: [] for language in languages}
    for row in rows:
        name = row.one(IMAGE)
        if name not in pictures:
            places[name] = len(pictures)
            pictures[name] = _picture(name, row, request)
        for language, column in languages.items():
            where = f"{row.where}, column {column}"
            texts = (Text(text, where) for text in row.texts(column))
            captions[language] += [Caption(places[name], text) for text in texts]
    empty = [language for language, found in captions.items() if not found]
    if empty:
        raise DataError(f"{request.path}: no caption in {', '.join(empty)}")
    return Dataset(request.path.stem, "retrieval", list(pictures.values()), captions)


def _classification(request: Request, rows: list[Row], languages: Mapping[str, str]) -> Dataset:
    pictures = [_picture(row.one(IMAGE), row, request) for row in rows]
    templates = class_names.read_templates(request.path.with_name("no such file"), request)
    if request.classnames:
        classes = class_names.read_classes(request.path.with_name("no such file"), request, None)
        labels = [_index(row, len(next(iter(classes.values())))) for row in rows]
        return Dataset(request.path.stem, "classification", pictures, {}, labels, classes, templates)
    if not languages:
        raise DataError(
            f"{request.path}: the classes have no names: no column of a language, and no --classnames"
        )
    index: dict[str, int] = {}
    names: dict[str, list[str]] = {language: [] for language in languages}
    labels = []
    for row in rows:
        label = row.one(LABEL)
        new = label not in index
        labels.append(index.setdefault(label, len(index)))
        for language, column in languages.items():
            if new:
                names[language].append(row.one(column))
            elif row.texts(column) not in ([], [names[language][labels[-1]]]):
                raise DataError(
                    f"{row.where}, column {column}: another name for the label {label!r} than above"
                )
    return Dataset(request.path.stem, "classification", pictures, {}, labels, names, templates)


def _index(row: Row, count: int) -> int:
    label = row.one(LABEL)
    if not (label.isascii() and label.isdecimal() and int(label) < count):
        raise DataError(f"{row.where}, column {LABEL}: {label[:40]!r} is no index of {count} classes")
    return int(label)


def _picture(name: str, row: Row, request: Request) -> Picture:
    base = request.images if request.images is not None else request.path.parent
    return Picture(name, f"{row.where}, column {IMAGE}", base / name)


def _languages(columns: list[str], request: Request) -> dict[str, str]:
    """The column of each language. Raises DataError for a language that was asked for and has none."""
    found = {column: column for column in columns if column in (request.languages or request.known)}
    if CAPTION in columns and request.language not in found:
        found = {request.language: CAPTION, **found}
    missing = [language for language in request.languages if language not in found]
    if missing and not request.classnames:
        raise DataError(f"{request.path}: no column {missing[0]!r} among {', '.join(columns)}")
    return {language: found[language] for language in request.languages or found if language in found}


def _rows(path: Path) -> Iterator[Row]:
    text = read_text(path)
    if path.suffix in {".jsonl", ".ndjson"}:
        return _json_rows(path, text)
    return _csv_rows(path, text, "\t" if path.suffix == ".tsv" else ",")


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            where, line = f"{path} line {line}", reader.line_num + 1
            if not header:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise DataError(f"{where}: a column's name stands there twice: {', '.join(header)}")
            elif cells:  # not a blank line
                if len(cells) != len(header):
                    hint = f"quote a cell with {delimiter!r} in it"
                    raise DataError(f"{where}: {len(cells)} cells in {len(header)} columns; {hint}")
                yield Row(where, dict(zip(header, cells, strict=True)), _in_cell)
    except csv.Error as error:
        raise DataError(f"{path} line {max(reader.line_num, 1)}: {error}") from None


def _in_cell(cell: object, where: str) -> list[str]:
    """The texts in a cell of CSV: none, one, or a JSON list of them."""
    text = str(cell or "").strip()
    if not text.startswith('["'):
        return [text] if text else []
    try:
        found = json.loads(text)
    except ValueError:
        raise DataError(f"{where}: begins like a JSON list, and is none") from None
    return _in_value(found, where)


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        yield Row(where, json_object(line, where), _in_value)


def _in_value(value: object, where: str) -> list[str]:
    """The texts in a value of JSON: a string, a number (a label), a list of them, or null."""
    texts = []
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool) or not isinstance(each, str | int | None):
            raise DataError(f"{where}: neither a text nor a list of texts")
        if each is not None and (text := str(each).strip()):
            texts.append(text)
    return texts
