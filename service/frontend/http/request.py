"""One HTTP request as the gateway and the handlers see it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from altclip.tracing import names
from service.frontend.calls.call import Call
from service.frontend.calls.trace_context import TraceContext, parse

__all__ = ["Form", "FormPart", "Headers", "Request", "authorization", "grouped", "trace_of"]

Headers = Mapping[str, Sequence[str]]


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
    headers: Headers
    rest: str = ""
    query: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    form: Form = ()

    def header(self, name: str) -> str:
        """The last value; "" without one."""
        values = self.headers.get(name)
        return values[-1] if values else ""


def grouped(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """All values of each name. Names are in lower case already."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return found


def authorization(headers: Headers) -> str | None:
    """The caller's key as `Bearer KEY`; None without any, "" where several differ."""
    given = {value.strip() for value in headers.get("authorization", ())}
    for name in ("x-api-key", "api-key"):
        given |= {f"Bearer {value.strip()}" for value in headers.get(name, ())}
    if not given:
        return None
    kinds = {(scheme.lower(), key.strip()) for scheme, _, key in (value.partition(" ") for value in given)}
    return f"Bearer {kinds.pop()[1]}" if len(kinds) == 1 and next(iter(kinds))[0] == "bearer" else ""


def trace_of(headers: Headers) -> TraceContext | None:
    """The context of the caller's trace."""
    given = headers.get(names.TRACEPARENT)
    return None if given is None else parse(given[-1])
