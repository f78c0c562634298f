"""OpenAI's embeddings and models, as its SDKs and those of its imitators send them.

input or messages, options ─▶ items ─ Service.embed ─▶ rows ─▶ {"object": "list", "data": […], "usage": …}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Encoding
from service.frontend.core.embed_items import EmbeddedItems, WholeItem
from service.frontend.http import fields
from service.frontend.http.errors import openai_detail
from service.frontend.http.items import Modality, conversations, items
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import ENCODINGS, embedding_rows, json_list
from service.frontend.http.service import Service

__all__ = ["Wanted", "answer", "api", "wanted"]

OWNER = "altclip"

_FORMATS = {"float": False, "base64": True}
_POLICIES = {"fail": True, "per_item": False}
_MODALITIES: Mapping[str, Modality] = {"text": "text", "image": "image"}
_TRUNCATIONS = {"truncate": False, "reject": True}


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of an embeddings request. strict: one bad item fails all."""

    model: str
    encoding: Encoding
    as_base64: bool
    normalize: bool
    reject: bool
    strict: bool
    orientation: str


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def embeddings(self, request: Request) -> Response:
        chosen = wanted(self._service, request)
        path, given = self._items(request.body)
        done = await self._service.embed(
            request,
            chosen.model,
            given,
            fields.options(normalize=chosen.normalize, reject=chosen.reject),
            path=path,
            strict=chosen.strict,
        )
        return await answer(done, chosen)

    def _items(self, body: Mapping[str, Any]) -> tuple[str, Sequence[WholeItem]]:
        value, messages = body.get("input"), body.get("messages")
        most = self._service.most_items
        if messages is not None:
            if value is not None:
                raise InvalidRequest.at("messages", "is given together with input; send one of them")
            return "messages", conversations(messages, "messages", most=most)
        if value is None:
            raise InvalidRequest.at("input", "is missing")
        return "input", items(value, "input", fields.choice(body, "modality", _MODALITIES, ""), most=most)

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


def wanted(service: Service, request: Request) -> Wanted:
    """Reads all options, and sets the call's priority."""
    body = request.body
    model = fields.string(body, "model")
    dtype = fields.either(body, "embed_dtype", "embedding_type")
    normalize = fields.either(body, "normalize", "normalized")
    request.call.priority = fields.priority(body)
    found = service.model(request, model)
    fields.dimensions(body, found.pool.spec.dimension)
    return Wanted(
        model=model,
        encoding=fields.choice(body, dtype, ENCODINGS, Encoding.FLOAT32),
        as_base64=fields.choice(body, "encoding_format", _FORMATS, False),
        normalize=fields.boolean(body, normalize, True),
        reject=_rejects(body, found.pool.spec.max_tokens),
        strict=fields.choice(body, "error_policy", _POLICIES, True),
        orientation=fields.choice(
            body, "orientation", {"as_stored": "as_stored", "upright": "upright"}, "as_stored"
        ),
    )


def _rejects(body: Mapping[str, Any], max_tokens: int) -> bool:
    tokens = body.get("truncate_prompt_tokens")
    if tokens is not None and (isinstance(tokens, bool) or tokens not in (-1, max_tokens)):
        raise InvalidRequest.at(
            "truncate_prompt_tokens", f"must be -1 or {max_tokens}, the model's own length"
        )
    value = body.get("truncation")
    if isinstance(value, bool):
        return not value
    return fields.choice(body, "truncation", _TRUNCATIONS, False)


async def answer(done: EmbeddedItems, chosen: Wanted) -> Response:
    """The whole answer, a failed item with its error in place of an embedding."""
    data: list[dict[str, Any]] = []
    for index, (row, scale) in enumerate(
        embedding_rows(done.rows, chosen.encoding, as_base64=chosen.as_base64)
    ):
        if (error := done.errors.get(index)) is not None:
            data.append({"object": "error", "index": index, "embedding": [], "error": openai_detail(error)})
            continue
        one: dict[str, Any] = {"object": "embedding", "index": index, "embedding": row}
        if scale is not None:
            one["scale"] = scale
        data.append(one)
    tokens = sum(done.token_counts)
    return Response.of(
        {
            "object": "list",
            "data": await json_list(data, 0 if chosen.as_base64 else done.rows.size),
            "model": done.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "image_count": done.image_count},
            "truncated": done.truncated,
            "revision": done.revision,
        }
    )
