"""The routes of the container that Weaviate's module multi2vec-clip asks for vectors.

{"texts": […], "images": [base64, …]} ─▶ items ─ Service.embed ─▶ {"textVectors": […], "imageVectors": […]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import ServiceError
from service.frontend.api.messages import Options
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.http import fields
from service.frontend.http.items import image_value
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import json_list
from service.frontend.http.service import Service

__all__ = ["api"]


def api(service: Service) -> Api:
    """The routes. Weaviate's client names no type of its body."""
    handlers = _Handlers(service)
    return Api(
        "weaviate",
        [
            Route("POST", "/vectorize", handlers.vectorize, untyped=True),
            Route("GET", "/meta", handlers.meta, body=""),
            Route("GET", "/.well-known/ready", handlers.ready, keyless=True, body=""),
            Route("GET", "/.well-known/live", handlers.live, keyless=True, body=""),
        ],
        shape=error_body,
    )


def error_body(error: ServiceError) -> tuple[int, Any]:
    """The container's shape."""
    return error.entry.http_status, {"error": error.message}


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def vectorize(self, request: Request) -> Response:
        most = self.service.most_items
        texts = fields.strings(request.body, "texts", most)
        images = fields.strings(request.body, "images", most)
        parts = [Part(f"texts[{index}]", text=text) for index, text in enumerate(texts)]
        for index, value in enumerate(images):
            path = f"images[{index}]"
            parts.append(Part(path, image=image_value(value, path)))
        items = [WholeItem(part.path, [part]) for part in parts]
        done = await self.service.embed(request, "", items, Options(), path="texts")
        middle = len(texts)
        return Response.of(
            {
                "textVectors": await json_list(list(done.rows[:middle]), done.rows[:middle].size),
                "imageVectors": await json_list(list(done.rows[middle:]), done.rows[middle:].size),
            }
        )

    async def meta(self, request: Request) -> Response:
        """An object that Weaviate shows as the module's metadata."""
        model = self.service.model(request, "")
        spec = model.pool.spec
        return Response.of(
            {
                "model": model.name,
                "revision": model.pool.revision,
                "dimension": spec.dimension,
                "max_tokens": spec.max_tokens,
                "image_size": spec.image_size,
            }
        )

    async def ready(self, request: Request) -> Response:
        return Response(status=204 if self.service.ready else 503, content_type="")

    async def live(self, request: Request) -> Response:
        return Response(status=204, content_type="")
