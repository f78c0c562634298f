"""Text Embeddings Inference's routes for a model of embeddings: texts only, and the server's first model.

    POST / and /embed   {"inputs": "…" or […]} ─▶ [[…]]
    POST /similarity    {"inputs": {"source_sentence", "sentences"}} ─▶ [cosine, …]
    GET /info           the model and its limits

`GET /health` is that of `health.py`. Statuses are TEI's own: 422 for a request that says nothing it knows,
413 for one that is too large, a text that must not be cut included, 424 where the model failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from altclip.version import VERSION
from service.frontend.api.errors import Code, Entry, InvalidRequest, ServiceError
from service.frontend.api.messages import Options, Scores
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.core.scoring import score_rows
from service.frontend.http import fields
from service.frontend.http.errors import PayloadTooLarge
from service.frontend.http.items import refuse_tokens
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import json_list
from service.frontend.http.service import Service

__all__ = ["api"]

_SHAPES: Mapping[str, tuple[int, str]] = {
    "INVALID_REQUEST": (422, "Validation"),
    "TEXT_TOO_LONG": (413, "Validation"),
    "PAYLOAD_TOO_LARGE": (413, "Validation"),
    "INTERNAL": (424, "Backend"),
    "OTHER_KIND_OF_MODEL": (424, "Backend"),
    "QUEUE_FULL": (429, "Overloaded"),
    "QUOTA_EXCEEDED": (429, "Overloaded"),
    "WORKER_UNAVAILABLE": (503, "Unhealthy"),
    "DRAINING": (503, "Unhealthy"),
}
"""Of a reason: the status and TEI's type of error. All others have their own status and name."""


class OtherKindOfModel(ServiceError):
    """The route is for models of another kind."""

    default_message = "This model makes dense embeddings only."

    @property
    def entry(self) -> Entry:
        """The row of this class."""
        return Entry("OTHER_KIND_OF_MODEL", Code.INVALID_ARGUMENT, 424)


def api(service: Service) -> Api:
    """The routes."""
    handlers = _Handlers(service)
    return Api(
        "tei",
        [
            Route("POST", "/", handlers.embed),
            Route("POST", "/embed", handlers.embed),
            Route("POST", "/similarity", handlers.similarity),
            Route("POST", "/embed_sparse", handlers.of_other_models),
            Route("POST", "/rerank", handlers.of_other_models),
            Route("GET", "/info", handlers.info, body=""),
        ],
        shape=error_body,
    )


def error_body(error: ServiceError) -> tuple[int, Any]:
    """TEI's shape."""
    entry = error.entry
    named = entry.reason.title().replace("_", "")
    status, kind = _SHAPES.get(entry.reason, (entry.http_status, named))
    return status, {"error": error.message, "error_type": kind}


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def embed(self, request: Request) -> Response:
        body = request.body
        spec = self.service.model(request, "").pool.spec
        fields.dimensions(body, spec.dimension)
        options = Options(normalize=fields.boolean(body, "normalize", True), reject=rejects(body))
        items = texts(body, "inputs", "inputs", self.service.most_items)
        done = await self.service.embed(request, "", items, options, path="inputs")
        return Response.of(await json_list(list(done.rows), done.rows.size))

    async def similarity(self, request: Request) -> Response:
        model = self.service.model(request, "")
        given = request.body.get("inputs")
        if not isinstance(given, dict):
            raise fields.wrong("inputs", given, "an object with source_sentence and sentences")
        options = Options(reject=rejects(fields.nested(request.body, "parameters")))
        path = "inputs.source_sentence"
        source = given.get("source_sentence")
        if not isinstance(source, str):
            raise fields.wrong(path, source, "a string")
        sentences = texts(given, "sentences", "inputs.sentences", self.service.most_items - 1)
        if not sentences:
            raise InvalidRequest.at("inputs.sentences", "must not be empty")
        items = [WholeItem(path, [Part(path, text=source)]), *sentences]
        done = await self.service.embed(request, "", items, options, path="inputs.sentences")
        (row,) = await score_rows(model, done.rows, 1, Scores.COSINE, 1.0, 0)
        return Response.of(row.scores)

    async def of_other_models(self, request: Request) -> Response:
        raise OtherKindOfModel

    async def info(self, request: Request) -> Response:
        model = self.service.model(request, "")
        return Response.of(
            {
                "model_id": model.name,
                "model_sha": model.pool.revision or None,
                "model_dtype": model.info.dtype,
                "model_type": {"embedding": {"pooling": "cls"}},
                "max_input_length": model.pool.spec.max_tokens,
                "max_client_batch_size": self.service.most_items,
                "auto_truncate": True,
                "version": VERSION,
            }
        )


def texts(body: Mapping[str, Any], name: str, path: str, most: int) -> Sequence[WholeItem]:
    """A text or a list of them. Raises PayloadTooLarge for more than `most`."""
    value = body.get(name)
    if isinstance(value, str):
        return [WholeItem(path, [Part(path, text=value)])]
    if not isinstance(value, list):
        raise fields.wrong(path, value, "a string or a list of strings")
    if len(value) > most:
        raise PayloadTooLarge(f"{path}: holds {len(value)} elements; at most {most} are accepted")
    items = []
    for index, text in enumerate(value):
        where = f"{path}[{index}]"
        if type(text) is int or (isinstance(text, list) and text and type(text[0]) is int):
            refuse_tokens(where)
        if not isinstance(text, str):
            raise fields.wrong(where, text, "a string")
        items.append(WholeItem(where, [Part(where, text=text)]))
    return items


def rejects(body: Mapping[str, Any]) -> bool:
    """Whether a text that is too long is an error. Refuses options that would give other embeddings."""
    if fields.string(body, "truncation_direction").lower() not in ("", "right"):
        raise InvalidRequest.at("truncation_direction", "must be Right: this model keeps the start of a text")
    if body.get("prompt_name") is not None:
        raise InvalidRequest.at("prompt_name", "this model has no prompts")
    return not fields.boolean(body, "truncate", True)
