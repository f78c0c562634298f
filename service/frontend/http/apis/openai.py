"""OpenAI's embeddings and models, as its SDKs and those of its imitators send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.frontend.api.errors import InvalidRequest
from service.frontend.core.embed_items import WholeItem
from service.frontend.http import fields
from service.frontend.http.embeddings import answer, embed, wanted
from service.frontend.http.items import Modality, conversations, items
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]

OWNER = "altclip"

_MODALITIES: Mapping[str, Modality] = {"text": "text", "image": "image"}


def api(service: Service) -> Api:
    """The routes."""
    handlers = _Handlers(service)
    return Api(
        "openai",
        [
            Route("POST", "/v1/embeddings", handlers.embeddings),
            Route("POST", "/embeddings", handlers.embeddings),
            Route("GET", "/v1/models", handlers.models, body=""),
            Route("GET", "/v1/models/{id}", handlers.model, body=""),
        ],
    )


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def embeddings(self, request: Request) -> Response:
        chosen = wanted(self._service, request)
        path, given = self._items(request.body)
        return await answer(await embed(self._service, request, chosen, given, path=path), chosen)

    def _items(self, body: Mapping[str, Any]) -> tuple[str, Sequence[WholeItem]]:
        value, messages = body.get("input"), body.get("messages")
        most, most_parts = self._service.most_items, self._service.most_parts
        if messages is not None:
            if value is not None:
                raise InvalidRequest.at("messages", "is given together with input; send one of them")
            return "messages", conversations(messages, "messages", most=most, most_parts=most_parts)
        if value is None:
            raise InvalidRequest.at("input", "is missing")
        modality = fields.choice(body, "modality", _MODALITIES, "")
        return "input", items(value, "input", modality, most=most, most_parts=most_parts)

    async def models(self, request: Request) -> Response:
        core = self._service.core
        names = [model.name for model in core if request.call.grant.permits(model.name)]
        aliases = self._service.settings.aliases()
        names += [alias for alias, name in aliases.items() if name in names]
        return Response.of({"object": "list", "data": [self._row(name) for name in names]})

    async def model(self, request: Request) -> Response:
        self._service.model(request, request.rest)
        return Response.of(self._row(request.rest))

    def _row(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": int(self._service.started),
            "owned_by": OWNER,
        }
