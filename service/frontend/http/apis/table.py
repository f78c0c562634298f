"""All APIs in the order in which they are asked for a route. A new one gets its line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.frontend.http.apis import (
    cohere,
    documentation,
    health,
    immich,
    openai,
    playground,
    scoring,
    tei,
    upload,
    voyage,
    weaviate,
)
from service.frontend.http.routes import Api
from service.frontend.http.service import Service

__all__ = ["chosen"]

APIS: Sequence[Callable[[Service], Api]] = (
    health.api,
    playground.api,
    openai.api,
    scoring.api,
    upload.api,
    cohere.api,
    voyage.api,
    tei.api,
    weaviate.api,
    immich.api,
)


def chosen(service: Service) -> Sequence[Api]:
    """Those without a name, those of --http-apis, and what describes them."""
    made = [api(service) for api in APIS]
    served = [api for api in made if not api.name or api.name in service.settings.http_apis]
    return [*served, documentation.api(service, served)]
