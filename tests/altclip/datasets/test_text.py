"""One reading of text, wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from altclip.datasets.dataset import Request
from altclip.datasets.folder import read_folder
from altclip.datasets.items import DataError
from altclip.datasets.table import read_table
from altclip.datasets.text import decode, number_lines, split_lines

MARK = "\ufeff"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\n\n b ", ["a", "", " b "]),
        (f"a\n{MARK}b", ["a", "b"]),
        ("a\rb\x0bc\x0cd\x1ce\x85f\u2028g\u2029h", ["a\rb\x0bc\x0cd\x1ce\x85f\u2028g\u2029h"]),
    ],
)
def test_only_line_feeds_end_lines(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


def test_a_mark_at_the_start_is_no_text() -> None:
    assert decode(b"\xef\xbb\xbfcat", "here") == "cat"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb\ncaf\xe9\n", "here line 3: not UTF-8"),
        (b"\xff\xfea\x00", "here line 1: not UTF-8, but UTF-16"),
        (b"cut \xe7\x8c", "here line 1: not UTF-8"),
        (b"\xed\xa0\x80", "here line 1: not UTF-8"),  # a surrogate, as some programs write it
    ],
)
def test_what_is_not_utf8_is_named_by_its_line(content: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(content, "here")
    assert str(caught.value) == said


def test_lines_of_a_stream_keep_their_numbers() -> None:
    assert list(number_lines([b"a\n", b" \r\n", b"\n", b"b"])) == [(1, b"a\n"), (4, b"b")]


TABLES = {
    "t.csv": "image,en\r\na.png,a\u2028cat\r\nb.png,a dog",
    "t.tsv": "image\ten\r\na.png\ta\u2028cat\r\nb.png\ta dog",
    "t.jsonl": '{"image": "a.png", "en": "a\u2028cat"}\r\n{"image": "b.png", "en": "a dog"}',
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("mark", ["", MARK])
def test_tables_are_read_so(tmp_path: Path, name: str, mark: str) -> None:
    path = tmp_path / name
    path.write_bytes((mark + TABLES[name]).encode())
    dataset = read_table(Request(path, known=["en"]))
    assert [caption.text.text for caption in dataset.captions["en"]] == ["a\u2028cat", "a dog"]
    path.write_bytes(TABLES[name].encode("utf-8") + b"\n\xe9")
    with pytest.raises(DataError, match=rf"{name} line 4: not UTF-8|{name} line 3: not UTF-8"):
        read_table(Request(path, known=["en"]))


@pytest.mark.parametrize("mark", ["", MARK])
def test_captions_and_names_of_classes_are_read_so(tmp_path: Path, mark: str) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").touch()
    (tmp_path / "test" / "1.txt").write_bytes(f"{mark}a\x85cat\r\nit sits".encode())
    dataset = read_folder(Request(tmp_path))
    assert [caption.text.text for caption in dataset.captions["en"]] == ["a\x85cat", "it sits"]
    (tmp_path / "test" / "1.txt").unlink()
    (tmp_path / "test" / "1.cls").write_bytes(f"{mark}1\r\n".encode())
    (tmp_path / "classnames.txt").write_bytes(f"{mark}a cat\r\na\u2028dog".encode())
    dataset = read_folder(Request(tmp_path))
    assert (dataset.labels, dataset.classes["en"]) == ([1], ["a cat", "a\u2028dog"])
