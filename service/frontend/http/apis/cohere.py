"""Cohere's embed, version 2, as its SDK's ClientV2 sends it.

texts, images or inputs, embedding_types ─▶ items ─ Service.embed ─▶ {"embeddings": {"float": [[…]], …}, …}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import InvalidRequest, ServiceError
from service.frontend.api.messages import Matrix, Options
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.http import fields
from service.frontend.http.items import content_items, image_value
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import NUMBERS, json_list, number_rows
from service.frontend.http.service import Service

__all__ = ["api"]

TYPES = (*NUMBERS, "base64")
"""base64 is that of float32."""

_SOURCES = ("texts", "images", "inputs")


def api(service: Service) -> Api:
    """The route."""
    return Api("cohere", [Route("POST", "/v2/embed", _Handlers(service).embed)], shape=error_body)


def error_body(error: ServiceError) -> tuple[int, Any]:
    """Cohere's shape."""
    return error.entry.http_status, {"message": error.message}


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def embed(self, request: Request) -> Response:
        body = request.body
        name = fields.string(body, "model")
        spec = self.service.model(request, name).pool.spec
        types = embedding_types(body)
        options = Options(reject=rejects(body))
        fields.dimensions(body, spec.dimension, "output_dimension")
        check_max_tokens(body, spec.max_tokens)
        request.call.priority = fields.priority(body)
        source, items = self._items(body)
        done = await self.service.embed(request, name, items, options, path=source)
        return Response.of(
            {
                "id": request.call.request_id,
                "embeddings": {kind: await _written(done.rows, kind) for kind in types},
                "texts": body["texts"] if source == "texts" else [],
                "response_type": "embeddings_by_type",
                "meta": {
                    "billed_units": {"input_tokens": sum(done.token_counts), "images": done.image_count}
                },
            }
        )

    def _items(self, body: Mapping[str, Any]) -> tuple[str, Sequence[WholeItem]]:
        """The field that holds them, and the items."""
        given = [name for name in _SOURCES if body.get(name) is not None]
        if not given:
            raise InvalidRequest.at("texts", "set exactly one of texts, images and inputs")
        if len(given) > 1:
            raise InvalidRequest.at(given[1], f"is given together with {given[0]}; send one of them")
        source, most = given[0], self.service.most_items
        if source == "inputs":
            values = fields.elements(body, source, most)
            return source, content_items(values, source, most_parts=self.service.most_parts)
        paths = [f"{source}[{index}]" for index in range(len(fields.strings(body, source, most)))]
        return source, [
            WholeItem(path, [Part(path, text=value) if source == "texts" else _image(value, path)])
            for path, value in zip(paths, body[source], strict=True)
        ]


def _image(value: str, path: str) -> Part:
    return Part(path, image=image_value(value, path))


def embedding_types(body: Mapping[str, Any]) -> Sequence[str]:
    """Each once; float where none is asked for."""
    given = fields.strings(body, "embedding_types", len(TYPES))
    for index, kind in enumerate(given):
        if kind not in TYPES:
            raise InvalidRequest.at(f"embedding_types[{index}]", f"must be one of {', '.join(TYPES)}")
    return list(dict.fromkeys(given)) or ["float"]


def rejects(body: Mapping[str, Any]) -> bool:
    """Whether a text that is too long is an error."""
    if body.get("truncate") == "START":
        raise InvalidRequest.at("truncate", "START is not offered: this model keeps the start of a text")
    return fields.choice(body, "truncate", {"END": False, "NONE": True}, False)


def check_max_tokens(body: Mapping[str, Any], most: int) -> None:
    """Refuses to cut texts where the model does not."""
    asked = fields.integer(body, "max_tokens", most, least=1, most=1 << 63)
    if asked < most:
        raise InvalidRequest.at("max_tokens", f"must not be less than {most}: this model cuts texts there")


async def _written(rows: Matrix, kind: str) -> Any:
    if kind == "base64":
        return list(number_rows(rows, "float", as_base64=True))
    return await json_list(list(number_rows(rows, NUMBERS[kind], as_base64=False)), rows.size)
