"""The interface's languages: each table says everything, with the same places for names and numbers."""

from __future__ import annotations

import re

import pytest

from service.frontend.http.playground.files import FOLDER
from worker.spec import ALL_LANGUAGES

TABLES = FOLDER / "js/i18n"
LINE = re.compile(r'^  "?([\w.]+)"?: "((?:[^"\\]|\\.)+)",$', re.MULTILINE)


def table(language: str) -> dict[str, str]:
    return dict(LINE.findall((TABLES / f"{language}.js").read_text()))


def places(sentence: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", sentence))


def test_there_is_a_table_for_each_language_of_the_models() -> None:
    assert {path.stem for path in TABLES.iterdir()} == set(ALL_LANGUAGES)


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_a_table_says_everything_with_the_same_places(language: str) -> None:
    english, other = table("en"), table(language)
    assert other.keys() == english.keys()
    assert {key for key in english if places(other[key]) != places(english[key])} == set()


def test_every_sentence_that_the_page_asks_for_is_there_and_none_besides() -> None:
    sources = [*(FOLDER / "js").glob("*.js"), FOLDER / "index.html"]
    text = "\n".join(path.read_text() for path in sources)
    known = set(table("en"))
    literal = set(re.findall(r'"([a-z]+\.\w+|skip|language|theme|tabs|lead)"', text))
    built = {key for key in known if key.startswith(("live.", "error."))}
    assert known - literal - built == set()
    asked = set(re.findall(r"""(?:\bt\(|data-i18n(?:-label)?=)["']([\w.]+)["']""", text))
    assert asked - known == set()


def test_the_page_without_its_script_says_what_the_english_table_says() -> None:
    html = (FOLDER / "index.html").read_text()
    english = table("en")
    for key, text in re.findall(r'data-i18n="([\w.]+)"[^>]*>([^<]+)<', html):
        assert english[key] == text, key
