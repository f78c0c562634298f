"""How a route is described. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.frontend.http.openapi.schemas import Schema

__all__ = ["Described", "Operation"]

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    """answer: of a success; None where it has no body. body, example: of the request. failures: statuses of
    errors that only this route has. others: further answers that have a shape of their own, by status. model:
    whether a model is asked for.
    """

    summary: str
    answer: Schema | None
    body: Schema | None = None
    example: Any = None
    about: str = ""
    status: int = 200
    content_type: str = JSON
    failures: Mapping[int, str] = field(default_factory=dict)
    others: Mapping[int | str, tuple[str, Schema | None]] = field(default_factory=dict)
    model: bool = True


@dataclass(frozen=True, slots=True)
class Described:
    """An API. title: of its part of the page. error: schema of its errors. operations: by "METHOD /path"."""

    title: str
    error: Schema
    operations: Mapping[str, Operation]
    components: Mapping[str, Schema] = field(default_factory=dict)
