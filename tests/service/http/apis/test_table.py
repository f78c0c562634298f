"""Which APIs there are, and how an operator chooses among them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.config.readers import HTTP_APIS
from service.config.settings import Settings
from service.frontend.http.apis import table
from service.frontend.http.service import Service
from worker.runtime.metrics import Layout, Metrics

TOTALS = Metrics.local(Layout(models=("m",), devices=("cpu",), methods=("EmbedText",)))


def offered(*names: str) -> dict[str, set[str]]:
    """The methods and paths of each API, under "" of those that are always there."""
    core: Any = SimpleNamespace(settings=Settings(http_apis=names), totals=TOTALS)
    found: dict[str, set[str]] = {}
    for api in table.chosen(Service(core, 0.0)):
        found.setdefault(api.name, set()).update(f"{route.method} {route.path}" for route in api.routes)
    return found


def test_all_names_of_the_setting_have_routes_of_their_own() -> None:
    found = offered(*HTTP_APIS)
    assert set(found) == {"", *HTTP_APIS}
    routes = [route for name in found for route in found[name]]
    assert len(routes) == len(set(routes))


@pytest.mark.parametrize("name", HTTP_APIS)
def test_one_that_is_chosen_alone_leaves_only_what_is_always_there(name: str) -> None:
    everything = offered(*HTTP_APIS)
    assert offered(name) == {"": everything[""], name: everything[name]}
