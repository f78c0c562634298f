"""Why a message could not be parsed: walks the bytes along its descriptor to the field at fault.

The parser itself says no more than that something is wrong. Runs on the way to an error, on bytes that a
stranger sent: it looks at each field once, no deeper than our messages are nested, and at so many fields as a
request within the limits has. To walk through a large message of nothing but fields would take half a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from service.frontend.api.errors import InvalidRequest

__all__ = ["unreadable"]

AnyDescriptor = Any
"""A Descriptor, of whichever implementation protobuf has chosen."""

_DEPTH = 8
_FIELDS = 1 << 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Fault(Exception):
    """Found: the path and what is wrong there."""


def unreadable(descriptor: AnyDescriptor, raw: bytes) -> InvalidRequest:
    """The error for bytes that are no such message; it names the first field at fault if one is found."""
    try:
        _walk(descriptor, memoryview(raw), "", 0, iter(range(_FIELDS)))
    except _Fault as fault:
        path, description = fault.args
        if path:
            return InvalidRequest.at(path, description)
    return InvalidRequest(f"The bytes are no {descriptor.full_name}.")


def _walk(descriptor: AnyDescriptor, raw: memoryview, prefix: str, depth: int, left: Iterator[int]) -> None:
    """left: has a number for each field that is still looked at, here and deeper."""
    seen: dict[int, int] = {}
    position = 0
    while position < len(raw):
        if next(left, None) is None:
            raise _Fault("", "is not looked for any further")
        key, position = _varint(raw, position, prefix)
        number, kind = key >> 3, key & 7
        field = descriptor.fields_by_number.get(number)
        path = prefix
        if field is not None:
            name = f"{prefix}.{field.name}" if prefix else field.name
            path = f"{name}[{seen.get(number, 0)}]" if field.is_repeated else name
            seen[number] = seen.get(number, 0) + 1
        if kind == _BYTES:
            size, position = _varint(raw, position, path)
            if size > len(raw) - position:
                raise _Fault(path, "is cut off")
            if field is not None:
                _value(field, raw[position : position + size], path, depth, left)
            position += size
        elif kind == _VARINT:
            _, position = _varint(raw, position, path)
        elif kind in (_FIXED32, _FIXED64):
            position += 4 if kind == _FIXED32 else 8
            if position > len(raw):
                raise _Fault(path, "is cut off")
        else:
            raise _Fault(path, "is malformed")


def _value(field: Any, raw: memoryview, path: str, depth: int, left: Iterator[int]) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            str(raw, "utf-8")
        except UnicodeDecodeError:
            raise _Fault(path, "is not valid UTF-8") from None
    elif field.message_type is not None and depth < _DEPTH:
        _walk(field.message_type, raw, path, depth + 1, left)


def _varint(raw: memoryview, position: int, path: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(raw):
            raise _Fault(path, "is cut off")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Fault(path, "is malformed")
