"""The descriptions of all routes. A route without one is refused here, and by the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.frontend.http.openapi.cohere import COHERE
from service.frontend.http.openapi.immich import IMMICH
from service.frontend.http.openapi.openai import OPENAI
from service.frontend.http.openapi.operations import Described
from service.frontend.http.openapi.own import OWN
from service.frontend.http.openapi.playground import PLAYGROUND
from service.frontend.http.openapi.tei import TEI
from service.frontend.http.openapi.voyage import VOYAGE
from service.frontend.http.openapi.weaviate import WEAVIATE

__all__ = ["DESCRIBED", "described"]

DESCRIBED: Sequence[Described] = (OPENAI, OWN, PLAYGROUND, COHERE, VOYAGE, TEI, WEAVIATE, IMMICH)

_ROUTES: Mapping[str, Described] = {route: each for each in DESCRIBED for route in each.operations}


def described(route: str) -> Described:
    """route: "METHOD /path". Raises KeyError."""
    return _ROUTES[route]
