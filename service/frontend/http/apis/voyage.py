"""Voyage's multimodal embeddings, as its SDK sends them. What its `embed` sends is OpenAI's route.

inputs[{content: [parts]}] ─▶ items ─ Service.embed ─▶ {"data": […], "usage": {"text_tokens", …}}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import ModelNotFound, ServiceError
from service.frontend.api.messages import Options
from service.frontend.core.embed_items import EmbeddedItems
from service.frontend.http import fields
from service.frontend.http.items import content_items
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import NUMBERS, Numbers, json_list, number_rows
from service.frontend.http.service import Service

__all__ = ["api"]


def api(service: Service) -> Api:
    """The route."""
    route = Route("POST", "/v1/multimodalembeddings", _Handlers(service).embed)
    return Api("voyage", [route], shape=error_body)


def error_body(error: ServiceError) -> tuple[int, Any]:
    """Voyage's shape. Its SDK knows no 404."""
    status = 400 if isinstance(error, ModelNotFound) else error.entry.http_status
    return status, {"detail": error.message}


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def embed(self, request: Request) -> Response:
        body = request.body
        name = fields.string(body, "model")
        spec = self.service.model(request, name).pool.spec
        options = Options(reject=not fields.boolean(body, "truncation", True))
        kind = fields.choice(body, "output_dtype", NUMBERS, "float")
        as_base64 = fields.choice(body, "encoding_format", {"base64": True}, False)
        fields.dimensions(body, spec.dimension, "output_dimension")
        values = fields.elements(body, "inputs", self.service.most_items)
        items = content_items(values, "inputs", most_parts=self.service.most_parts)
        done = await self.service.embed(request, name, items, options, path="inputs")
        return await answer(done, kind, as_base64=as_base64)


async def answer(done: EmbeddedItems, kind: Numbers, *, as_base64: bool) -> Response:
    """As Voyage's. No part of usage may be null; an image costs no tokens here."""
    data = [
        {"object": "embedding", "embedding": row, "index": index}
        for index, row in enumerate(number_rows(done.rows, kind, as_base64=as_base64))
    ]
    tokens = sum(done.token_counts)
    return Response.of(
        {
            "object": "list",
            "data": await json_list(data, 0 if as_base64 else done.rows.size),
            "model": done.model,
            "usage": {
                "text_tokens": tokens,
                "image_pixels": sum(width * height for width, height in done.image_sizes),
                "video_pixels": 0,
                "total_tokens": tokens,
            },
        }
    )
