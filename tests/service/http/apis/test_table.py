"""Which APIs there are, and how an operator chooses among them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.config.readers import HTTP_APIS
from service.config.settings import Settings
from service.frontend.http.apis import table
from service.frontend.http.service import Service


def offered(*names: str) -> dict[str, set[str]]:
    """The paths of each API, under "" of those that are always there."""
    core: Any = SimpleNamespace(settings=Settings(http_apis=names))
    found: dict[str, set[str]] = {}
    for api in table.chosen(Service(core, 0.0)):
        found.setdefault(api.name, set()).update(route.path for route in api.routes)
    return found


def test_all_names_of_the_setting_have_routes_of_their_own() -> None:
    found = offered(*HTTP_APIS)
    assert set(found) == {"", *HTTP_APIS}
    paths = [path for name in found for path in found[name]]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("name", HTTP_APIS)
def test_one_that_is_chosen_alone_leaves_only_what_is_always_there(name: str) -> None:
    everything = offered(*HTTP_APIS)
    assert offered(name) == {"": everything[""], name: everything[name]}
