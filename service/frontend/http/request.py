"""One HTTP request as the gateway and the handlers see it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.frontend.calls.call import Call

__all__ = ["Form", "FormPart", "Request"]


@dataclass(frozen=True, slots=True)
class FormPart:
    """A part of a multipart body. file: whether it came as a file."""

    name: str
    content: bytes
    file: bool = False


Form = Sequence[FormPart]


@dataclass(slots=True)
class Request:
    """headers: names in lower case, all values of each in their order. path: without the operator's prefix.
    rest: what stands for the name in braces of the route's path. body: of JSON routes an object. form: of
    multipart ones.
    """

    call: Call
    method: str
    path: str
    headers: Mapping[str, Sequence[str]]
    rest: str = ""
    query: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    form: Form = ()

    def header(self, name: str) -> str:
        """The last value; "" without one."""
        values = self.headers.get(name)
        return values[-1] if values else ""
