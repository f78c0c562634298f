"""Every part of every request, at any depth, replaced by a value of another type: refused at its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from service.frontend.http.apis import table
from service.frontend.http.openapi.table import described
from service.frontend.http.routes import Route
from service.frontend.http.service import Service
from tests.service.http.asking import Asking

VALUES: tuple[Any, ...] = (None, True, -1, 1e308, "", "{}", [], {}, [[]], {"": None}, [None])
Place = tuple[Any, ...]


def routes(http: Asking) -> Iterator[tuple[Route, Mapping[str, Any]]]:
    """All that read JSON, each with its documented example."""
    for api in table.chosen(Service(http.service.server.core, 0.0)):
        for route in api.routes:
            if route.body == "json":
                name = f"{route.method} {route.path}"
                yield route, described(name).operations[name].example


def places(value: Any, start: Place = ()) -> Iterator[Place]:
    """Of everything in a value but itself."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, each in children:
        yield (*start, name)
        yield from places(each, (*start, name))


def replaced(value: Any, place: Place, by: Any) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = by
    return changed


@pytest.mark.asyncio(loop_scope="session")
async def test_a_value_of_a_wrong_type_is_refused_at_its_place(shared: Asking) -> None:
    tried = 0
    for route, example in routes(shared):
        for place in places(example):
            for value in VALUES:
                answer = await shared.post(route.path, replaced(example, place, value))
                assert answer.status < 500, (route.path, place, value, answer.body)
                if answer.status == 400 and "error" in answer.json and isinstance(answer.json["error"], dict):
                    assert answer.error["param"].startswith(place[0]), (place, value, answer.body)
                tried += 1
    assert tried > 300
