"""Reading multipart/form-data: every part with its name, all of them in their order. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.frontend.api.errors import InvalidRequest
from service.frontend.http.request import Form, FormPart

__all__ = ["read_form"]

# What it has to say of a broken form stands in the answer, and would be a line of the log for each.
logging.getLogger("python_multipart.multipart").disabled = True

MOST_PARTS = 4096
"""In a form. A part takes a few hundred bytes of memory, and as few as 60 on the wire."""


@dataclass(slots=True)
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)


class _Reader:
    """What the parser calls."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._name = b""
        self._value = b""

    def callbacks(self) -> Any:
        """By the names that the parser has for them."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}

    def on_part_begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} parts.")
        self.parts.append(_Part())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += memoryview(data)[start:end]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.decode("latin-1").lower()] = self._value
        self._name = self._value = b""

    def on_end(self) -> None:
        self.ended = True


def read_form(body: Any, content_type: str) -> Form:
    """The parts of a form, which is any buffer. Raises InvalidRequest where it is broken or ends early."""
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise InvalidRequest("The Content-Type of the form has no boundary.")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InvalidRequest("The form is not valid multipart/form-data.") from None
    if not reader.ended:
        raise InvalidRequest("The form ends before its last boundary.")
    return [_form_part(part) for part in reader.parts]


def _form_part(part: _Part) -> FormPart:
    kind, parameters = parse_options_header(part.headers.get("content-disposition"))
    name = parameters.get(b"name")
    if kind != b"form-data" or name is None:
        raise InvalidRequest("A part of the form has no name.")
    try:
        return FormPart(name.decode(), bytes(part.content), file=b"filename" in parameters)
    except UnicodeDecodeError:
        raise InvalidRequest("A name in the form is not valid UTF-8.") from None
