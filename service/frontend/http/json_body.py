"""Reading JSON from strangers' bytes: RFC 8259 and nothing else, into plain Python values. Pure.

    bytes ─ not too many values ─▶ orjson ─▶ no name twice ─▶ an object

orjson refuses NaN, Infinity, numbers that are no float64, invalid UTF-8, lone surrogates and nesting deeper
than 1024. It keeps the last of two equal names, so colons are counted: in text that holds no name twice there
is one between each name and its value. Only where the count does not fit is the text read a second time, by
the standard library, which shows every name.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from service.frontend.api.errors import InvalidRequest

__all__ = ["MOST_VALUES", "VALUE_BYTES", "read_object", "values"]

MOST_VALUES = 1 << 22
"""Values in a body. One takes as few as 2 bytes on the wire."""
VALUE_BYTES = 64
"""What one takes in memory, at most, but for the text of strings."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_SOME_STRINGS = re.compile(rb'(?:[^"]*+' + _STRING + rb"){1,100}", re.DOTALL)
"""What begins outside of a string and ends with one. A search for strings would begin anew at each quotation
mark of one that never ends: of some megabytes for days."""


def read_object(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in these bytes. Raises InvalidRequest that says where it is broken."""
    if values(body) > MOST_VALUES:
        raise InvalidRequest(f"The body holds more than {MOST_VALUES:,} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} (byte {error.pos}).") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if _colons(value) != body.count(b":") or b"\\u003" in body:
        _refuse_duplicates(body)
    return value


def values(body: bytes | bytearray) -> int:
    """About how many values there are: up to MOST_VALUES exact where a quick count says more than that."""
    quick = _marks(body)
    if quick <= MOST_VALUES:
        return quick
    count = start = 0
    while count <= MOST_VALUES:  # other threads have their turn only between two of these matches
        some = _SOME_STRINGS.match(body, start)
        if some is None:
            return count + _marks(body[start:])
        count += _marks(_STRINGS.sub(b"", some[0]))
        start = some.end()
    return count


def _marks(text: bytes | bytearray) -> int:
    """One for each value but the first of a list or an object, and one for each of these."""
    return sum(map(text.count, (b",", b"[", b"{")))


def _colons(value: dict[str, Any]) -> int:
    """How many colons there are in the text of a value that holds no name twice."""
    count = 0
    left: list[Any] = [value]
    while left:
        current = left.pop()
        if isinstance(current, str):
            count += current.count(":")
        elif isinstance(current, dict):
            count += len(current)
            left += current
            left += current.values()
        elif isinstance(current, list):
            left += current
    return count


def _refuse_duplicates(body: bytes | bytearray) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise InvalidRequest(f"The name {name[:100]!r} stands twice in one object.")
            found[name] = value
        return found

    try:
        json.loads(body, object_pairs_hook=unique)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
