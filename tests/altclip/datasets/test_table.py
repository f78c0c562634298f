"""Reading tables: rows, lists and languages; whatever is wrong is named by file, line and column."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from altclip.datasets.dataset import Dataset, Request
from altclip.datasets.items import DataError
from altclip.datasets.table import read_table
from tests.altclip.evaluate.evaluation_data import picture

REQUEST = Request(Path(), known=("en", "zh"))
WANTED = {
    (picture("cat"), "a cat"),
    (picture("cat"), "the cat"),
    (picture("dog"), "a dog"),
    (picture("moon"), "a moon"),
    (picture("moon"), "the moon"),
}


def pairs(dataset: Dataset, language: str = "en") -> set[tuple[bytes, str]]:
    return {(dataset.pictures[c.picture].read(), c.text.text) for c in dataset.captions[language]}


def table(folder: Path, text: str, name: str = "set.csv") -> Request:
    for words in ("cat", "dog", "moon"):
        (folder / f"{words}.jpg").write_bytes(picture(words))
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return dataclasses.replace(REQUEST, path=path)


def test_a_table_with_repeated_rows_lists_and_empty_cells(tmp_path: Path) -> None:
    dataset = read_table(
        table(
            tmp_path,
            "\ufeffimage,id,en,zh\ncat.jpg,1,a cat,一只猫\ncat.jpg,2,the cat,\n"
            'dog.jpg,3,a dog,\n\nmoon.jpg,4,"[""a moon"", ""the moon""]",月亮\n',
        )
    )
    assert pairs(dataset) == WANTED
    assert pairs(dataset, "zh") == {(picture("cat"), "一只猫"), (picture("moon"), "月亮")}
    assert dataset.captions["zh"][1].text.where == f"{tmp_path}/set.csv line 6, column zh"


def test_the_same_table_as_json_lines(tmp_path: Path) -> None:
    rows = [
        {"image": "cat.jpg", "en": ["a cat", "the cat"], "zh": "一只猫", "meta": {"any": "thing"}},
        {"image": "dog.jpg", "en": "a dog"},
        {"image": "moon.jpg", "en": ["a moon", "the moon"], "zh": None},
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    assert pairs(read_table(table(tmp_path, text, "set.jsonl"))) == WANTED


def test_a_column_caption_is_in_the_language_that_was_named(tmp_path: Path) -> None:
    given = table(tmp_path, "image,caption\ncat.jpg,一只猫\n")
    assert list(read_table(dataclasses.replace(given, languages=["zh"])).captions) == ["zh"]
    assert list(read_table(given).captions) == ["en"]


def test_a_table_of_labels_names_its_own_classes(tmp_path: Path) -> None:
    dataset = read_table(
        table(tmp_path, "image,label,en,zh\ndog.jpg,d,dog,狗\ncat.jpg,c,cat,猫\nmoon.jpg,c,cat,\n")
    )
    assert (dataset.task, dataset.labels) == ("classification", [0, 1, 1])
    assert dataset.classes == {"en": ["dog", "cat"], "zh": ["狗", "猫"]}


def test_a_table_of_labels_may_count_into_files_of_names(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("cat\ndog\n")
    given = table(tmp_path, "image,label\ndog.jpg,1\n")
    dataset = read_table(dataclasses.replace(given, classnames={"en": tmp_path / "en.txt"}))
    assert (dataset.labels, dataset.classes) == ([1], {"en": ["cat", "dog"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,en\ncat.jpg,a cat\ndog.jpg,a dog, running\n", "set.csv line 3: 3 cells in 2 columns"),
        ('image,en\ncat.jpg,"a\ncat"\ndog.jpg\n', "set.csv line 4: 1 cells in 2 columns"),
        ("image,en\n,a cat\n", "set.csv line 2, column image: empty"),
        ('image,en\ncat.jpg,"[""a cat"", 1.5]"\n', "set.csv line 2, column en: neither a text nor"),
        ('image,en\ncat.jpg,"[""a cat"""\n', "set.csv line 2, column en: begins like a JSON list"),
        ("image,en,en\ncat.jpg,a,b\n", "set.csv line 1: a column's name stands there twice"),
        ("picture,en\ncat.jpg,a cat\n", "set.csv: no column 'image' among picture, en"),
        (
            "image,de\ncat.jpg,eine Katze\n",
            r"set.csv: none of its columns \(image, de\) is a language of en, zh",
        ),
        (
            "image,label,en\ncat.jpg,c,cat\ndog.jpg,c,dog\n",
            "set.csv line 3, column en: another name for the label",
        ),
        ("image,label\ncat.jpg,c\n", "set.csv: the classes have no names"),
        ("image,en\n", "set.csv: no rows"),
        ('image,en\ncat.jpg,"a cat\n', "set.csv line 2: unexpected end of data"),
    ],
)
def test_a_bad_table_is_named_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_table(table(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "cat.jpg", "en": "a"}\n{"image"', "set.jsonl line 2: "),
        ('["cat.jpg"]', "set.jsonl line 1: not a JSON object"),
        ('{"image": "cat.jpg", "en": {"a": 1}}', "set.jsonl line 1, column en: neither a text nor"),
        ('{"image": ["a.jpg", "b.jpg"], "en": "a"}', "set.jsonl line 1, column image: one value is wanted"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path, text, "set.jsonl"))


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_bytes(b"image,en\ncat.jpg,a cat\ndog.jpg,\xe9\n")
    with pytest.raises(DataError, match=r"set\.csv line 3: not UTF-8"):
        read_table(dataclasses.replace(REQUEST, path=path))


def test_a_language_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    given = table(tmp_path, "image,en\ncat.jpg,a cat\n")
    with pytest.raises(DataError, match="no column 'zh' among image, en"):
        read_table(dataclasses.replace(given, languages=["en", "zh"]))
