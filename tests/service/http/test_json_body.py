"""What is JSON and what is not: refused by its own fault, and nothing is lost."""

from __future__ import annotations

import json
import random

import pytest

from service.frontend.api.errors import InvalidRequest
from service.frontend.http import json_body
from service.frontend.http.json_body import read_object, values


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"input": "a: b"},
        {"input": ["x", {"image": "data:image/png;base64,AA=="}], "model": None},
        {"a": {"a": {"a": [1, -2.5e-3, True, False, None, "日本", "\u0000", 'quote " and \\ slash']}}},
        {":": ":::", "": ""},
    ],
)
def test_an_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    assert read_object(json.dumps(value).encode()) == value
    assert read_object(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"input": "a"} x',
        b'{"input": NaN}',
        b'{"input": -Infinity}',
        b'{"input": 1e999}',
        b'{"input": "\xff"}',
        b'{"input": "\\ud800"}',
        b'{"input": "\x01"}',
        b'{"input": 01}',
        b"\xef\xbb\xbf{}",
        '{"input": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"input": ' + b"1" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        read_object(body)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true"])
def test_only_an_object_is_a_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        read_object(body)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"input": "a", "input": "b"}', "input"),
        (b'{"input": "a", "input": "a"}', "input"),
        (b'{"input": [{"text": "a", "text": "b"}]}', "text"),
        (b'{"in\\u0070ut": "a", "input": "b"}', "input"),
        (b'{"a": "\\u003a", "b": 1, "b": 2}', "b"),
        (b'{"a": "::", "b": "\\u003a\\u003a", "b": ""}', "b"),
    ],
)
def test_a_name_that_stands_twice_is_refused_and_told(body: bytes, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}' stands twice"):
        read_object(body)


def test_the_same_name_in_two_objects_is_no_duplicate() -> None:
    body = b'{"input": [{"text": "a"}, {"text": "b"}], "text": "\\u003a"}'
    assert read_object(body)["text"] == ":"


def test_a_deeply_nested_duplicate_is_refused_like_any_other() -> None:
    body = b'{"a":' * 900 + b'{"b": "\\u003a", "b": 1}' + b"}" * 900
    with pytest.raises(InvalidRequest, match=r"stands twice|nested too deeply"):
        read_object(body)


def test_a_body_of_very_many_values_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MOST_VALUES", 1000)
    with pytest.raises(InvalidRequest, match=r"more than 1,000 values"):
        read_object(b'{"input": [' + b"[]," * 1000 + b"[]]}")


def test_a_body_that_ends_within_a_text_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MOST_VALUES", 1000)
    with pytest.raises(InvalidRequest):
        read_object(b'{"input": [' + b"," * 2000 + b'"' + b'\\"' * 2_000_000)


def test_values_are_counted_exactly_up_to_as_many_as_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MOST_VALUES", 500)
    pieces = {'"a,[{"': 0, r'"\","': 0, r'"\\"': 0, '""': 0, "[": 1, "{": 1, ",": 1, "1": 0}
    generator = random.Random(4)
    for _ in range(300):
        chosen = generator.choices([*pieces], k=generator.randrange(1000, 1600))
        counted = sum(map(pieces.__getitem__, chosen))
        found = values("".join(chosen).encode())
        assert found == counted if counted <= 500 else found > 500


def test_commas_and_brackets_within_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MOST_VALUES", 1000)
    text = 'a, [b], {c}, "d" \\ ' * 1000
    assert read_object(json.dumps({"input": text}).encode()) == {"input": text}
