"""Reading the fields of a JSON object: the type that is wanted, or an error with the field's path. Pure.

Everywhere null is the same as absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Orientation
from service.frontend.calls.call import Call
from worker.runtime.notices import Priority

__all__ = [
    "array",
    "boolean",
    "choice",
    "dimensions",
    "either",
    "elements",
    "integer",
    "nested",
    "number",
    "orientation",
    "priority",
    "set_deadline",
    "string",
    "strings",
    "wrong",
]

Chosen = TypeVar("Chosen")

_KINDS: Mapping[type, str] = {
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "a string",
}


def wrong(path: str, value: Any, wanted: str) -> InvalidRequest:
    """The error of a field of another type. The value itself is not shown: it may be anything."""
    kind = "null" if value is None else _KINDS[type(value)]
    return InvalidRequest.at(path, f"must be {wanted}, not {kind}")


def string(body: Mapping[str, Any], name: str, default: str = "") -> str:
    """A string."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise wrong(name, value, "a string")
    return value


def boolean(body: Mapping[str, Any], name: str, default: bool) -> bool:
    """true or false."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return value


def integer(body: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """A whole number in a range."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, value, "a whole number")
    if not least <= value <= most:
        raise InvalidRequest.at(name, f"must be from {least} to {most}")
    return value


def number(value: Any, path: str) -> float:
    """Any finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(path, value, "a number")
    if not math.isfinite(value):
        raise InvalidRequest.at(path, "must be finite")
    return float(value)


def nested(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object; an absent one is empty."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    return value


def array(body: Mapping[str, Any], name: str) -> list[Any]:
    """A list; an absent one is empty."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(name, value, "a list")
    return value


def elements(body: Mapping[str, Any], name: str, most: int | None = None) -> list[Any]:
    """A list, of at most so many elements; an absent one is empty."""
    found = array(body, name)
    if most is not None and len(found) > most:
        raise InvalidRequest.at(name, f"holds {len(found)} elements; at most {most} are accepted")
    return found


def strings(body: Mapping[str, Any], name: str, most: int | None = None) -> list[str]:
    """A list of strings, of at most so many; an absent one is empty."""
    found = elements(body, name, most)
    for index, value in enumerate(found):
        if not isinstance(value, str):
            raise wrong(f"{name}[{index}]", value, "a string")
    return found


def choice(body: Mapping[str, Any], name: str, kinds: Mapping[str, Chosen], default: Chosen) -> Chosen:
    """What one of a few words stands for."""
    word = string(body, name)
    if not word and body.get(name) is None:
        return default
    if word not in kinds:
        raise InvalidRequest.at(name, f"must be one of {', '.join(kinds)}")
    return kinds[word]


def either(body: Mapping[str, Any], *names: str) -> str:
    """The one of these synonyms that is given, the first if none is. Raises InvalidRequest if two differ."""
    given = [name for name in names if body.get(name) is not None]
    if len(given) > 1 and any(body[name] != body[given[0]] for name in given):
        raise InvalidRequest.at(given[1], f"says something else than {given[0]}")
    return given[0] if given else names[0]


def priority(body: Mapping[str, Any], name: str = "priority") -> Priority:
    """`interactive`, `bulk`, or a whole number: up to 0 is interactive."""
    value = body.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return Priority.INTERACTIVE if value <= 0 else Priority.BULK
    kinds = {"interactive": Priority.INTERACTIVE, "bulk": Priority.BULK}
    return choice(body, name, kinds, Priority.INTERACTIVE)


def dimensions(body: Mapping[str, Any], width: int, name: str = "dimensions") -> None:
    """Refuses every width but the model's."""
    asked = integer(body, name, width, least=-(1 << 63), most=1 << 63)
    if asked != width:
        raise InvalidRequest.at(name, f"is {asked}, but this model's embeddings have {width} dimensions")


def orientation(body: Mapping[str, Any]) -> Orientation:
    """`as_stored` or `upright`."""
    kinds = {each.name.lower(): each for each in Orientation}
    return choice(body, "orientation", kinds, Orientation.AS_STORED)


def set_deadline(call: Call, seconds: float, path: str, now: float) -> None:
    """The earlier one of the call's deadline and this one."""
    if not 0.0 < seconds <= 1e9:
        raise InvalidRequest.at(path, "must be a time greater than 0")
    until = now + seconds
    call.deadline = until if call.deadline is None else min(call.deadline, until)
