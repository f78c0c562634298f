"""openapi.json, which describes every route that this server has, and a page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import orjson

from service.frontend.http.openapi.document import document
from service.frontend.http.openapi.page import POLICY, page
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]

_HEADERS = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))


def api(service: Service, others: Sequence[Api]) -> Api:
    """The routes. others: all other APIs that are served."""
    handlers = _Handlers(service)
    own = Api(
        "",
        [
            Route("GET", "/openapi.json", handlers.description, keyless=True, body=""),
            Route("GET", "/docs", handlers.page, keyless=True, body=""),
        ],
    )
    handlers.apis = [*others, own]
    return own


class _Handlers:
    """Both are made when they are asked for first: most servers are never asked."""

    apis: Sequence[Api] = ()

    def __init__(self, service: Service) -> None:
        self._settings = service.settings

    async def description(self, request: Request) -> Response:
        return self._description

    async def page(self, request: Request) -> Response:
        return self._page

    @cached_property
    def _description(self) -> Response:
        settings = self._settings
        made = document(self.apis, prefix=settings.http_prefix, keys=settings.wants_keys)
        return Response(orjson.dumps(made), headers=_HEADERS)

    @cached_property
    def _page(self) -> Response:
        body = page(orjson.loads(self._description.body)).encode()
        policy = ("content-security-policy", POLICY)
        return Response(body, content_type="text/html; charset=utf-8", headers=(*_HEADERS, policy))
