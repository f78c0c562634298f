"""What an API consists of: routes, and the shape of its errors. Finding the route of a path. No I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

from service.frontend.http.errors import MethodNotAllowed, NotFound, Shape, openai_error
from service.frontend.http.request import Request

__all__ = ["Api", "Found", "Response", "Route", "Routes"]

Headers = Sequence[tuple[str, str]]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whole."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: Headers = ()

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Response:
        """JSON; numpy arrays are lists of numbers."""
        return cls(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status)


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. path: may end in a name in braces, which stands for all that follows.

    keyless: answered without a key, while the server drains, and counted for no caller. body: what is read
    before the handler runs. untyped: a body without a Content-Type is read, too,
    unless a web page sends it. free: takes nothing from the quota of the caller's key.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    keyless: bool = False
    body: Literal["", "json", "multipart"] = "json"
    untyped: bool = False
    free: bool = False

    @property
    def prefix(self) -> str:
        """What comes before the name in braces; "" without one."""
        head, brace, _ = self.path.partition("{")
        return head if brace else ""


@dataclass(frozen=True, slots=True)
class Api:
    """name: as in --http-apis; "" for what is always there."""

    name: str
    routes: Sequence[Route]
    shape: Shape = openai_error


class Found(NamedTuple):
    """rest: what stands for the name in braces."""

    route: Route
    api: Api
    rest: str = ""


@dataclass(slots=True)
class Routes:
    """The routes of all APIs. Of two APIs that have the same route, the first answers."""

    apis: Sequence[Api]
    _exact: dict[str, dict[str, Found]] = field(default_factory=dict)
    _prefixes: dict[str, dict[str, Found]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for api in self.apis:
            for route in api.routes:
                table, key = (self._prefixes, route.prefix) if route.prefix else (self._exact, route.path)
                table.setdefault(key, {}).setdefault(route.method, Found(route, api))

    def methods(self, path: str) -> tuple[Mapping[str, Found], str]:
        """The methods of a path, none for an unknown path, and what stands for the name in braces."""
        if (found := self._exact.get(path)) is not None:
            return found, ""
        for prefix, methods in self._prefixes.items():
            if path.startswith(prefix) and len(path) > len(prefix):
                return methods, path[len(prefix) :]
        return {}, ""

    def find(self, method: str, path: str) -> Found:
        """HEAD is answered as GET is. Raises NotFound or MethodNotAllowed."""
        methods, rest = self.methods(path)
        if not methods:
            raise NotFound
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            raise MethodNotAllowed
        return found._replace(rest=rest)
