"""The OpenAPI document: what APIs say of their own routes, and the descriptions beside it. Pure.

    routes, keys, kinds of body, shapes of errors ─┐
    summaries, schemas, examples ──────────────────┴─▶ one document

Which statuses a route answers with follows from the errors that can meet it and its API's own shape of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from altclip.version import VERSION
from service.frontend.api import errors as service_errors
from service.frontend.api.errors import ServiceError
from service.frontend.http.errors import (
    BadHttp,
    ContentTooSlow,
    Misdirected,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import COMPONENTS, Schema
from service.frontend.http.openapi.table import described
from service.frontend.http.routes import JSON, Api, Route

__all__ = ["document"]

ABOUT = """\
Every answer has the header x-request-id: the request's own, or one that was made for it. Errors name the
field at fault by its path in the request. Other methods of a path are answered with 405, unknown paths with
404. In requests null is the same as an absent field."""

_ALWAYS = (BadHttp, service_errors.InvalidRequest, Misdirected, service_errors.Internal)
_KEYED = (
    service_errors.Unauthenticated,
    service_errors.QuotaExceeded,
    service_errors.Draining,
    service_errors.DeadlineTooShort,
)
_OF_A_MODEL = (
    service_errors.ModelNotFound,
    service_errors.PermissionDenied,
    service_errors.WorkerUnavailable,
)
_OF_A_BODY = (
    PayloadTooLarge,
    UnsupportedMediaType,
    ContentTooSlow,
    service_errors.QueueFull,
    service_errors.UndecodableImage,
    service_errors.TextTooLong,
)
_MEDIA = {"json": JSON, "multipart": "multipart/form-data"}
_SCHEMES: Mapping[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
_PARAMETERS: Mapping[str, Any] = {
    "timeout": {
        "name": "x-request-timeout-ms",
        "in": "header",
        "description": "Milliseconds after which the answer is of no use any more.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**12 - 1},
    },
    "request-id": {
        "name": "x-request-id",
        "in": "header",
        "description": "Comes back with the answer and stands in the server's log. Printable ASCII.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    },
}
_HEADERS: Mapping[str, Any] = {
    "x-request-id": {"schema": {"type": "string"}, "required": True},
    "retry-after": {"schema": {"type": "integer"}, "description": "Seconds until another try may succeed."},
    "retry-after-ms": {"schema": {"type": "integer"}, "description": "The same in milliseconds."},
    "x-should-retry": {"schema": {"type": "string"}, "description": "false: another try is of no use."},
}


def document(apis: Sequence[Api], *, prefix: str, keys: bool) -> dict[str, Any]:
    """prefix: of all paths, for those outside. keys: whether callers need one. Raises KeyError for a route
    that nobody described."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Schema] = dict(COMPONENTS)
    tags: dict[str, None] = {}
    for api, route in _routes(apis):
        about = described(f"{route.method} {route.path}")
        schemas.update(about.components)
        tags[about.title] = None
        paths.setdefault(route.path, {}).setdefault(route.method.lower(), _operation(api, route, about))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AltCLIP",
            "version": VERSION,
            "summary": "Embeddings of texts and images, similarities and zero-shot classification",
            "description": ABOUT,
        },
        "servers": [{"url": prefix or "/"}],
        **({"security": [{name: []} for name in _SCHEMES]} if keys else {}),
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": dict(_PARAMETERS),
            "headers": dict(_HEADERS),
            **({"securitySchemes": dict(_SCHEMES)} if keys else {}),
        },
    }


def _routes(apis: Sequence[Api]) -> Iterator[tuple[Api, Route]]:
    for api in apis:
        for route in api.routes:
            yield api, route


def _operation(api: Api, route: Route, about: Described) -> dict[str, Any]:
    operation = about.operations[f"{route.method} {route.path}"]
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS]
    if route.prefix:
        name = route.path[len(route.prefix) + 1 : -1]
        parameters.append(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}  # type: ignore[dict-item]
        )
    found: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path}",
        "tags": [about.title],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(api, route, about, operation),
    }
    if operation.about:
        found["description"] = operation.about
    if route.keyless:
        found["security"] = []
    if route.body:
        found["requestBody"] = {
            "required": True,
            "content": {_MEDIA[route.body]: {"schema": operation.body, "example": operation.example}},
        }
    return found


def _responses(api: Api, route: Route, about: Described, operation: Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if operation.answer is not None or operation.status == 204:
        answers[str(operation.status)] = _answer("Done.", operation.answer, operation.content_type)
    told: dict[int, dict[str, None]] = {}
    for kind in _errors(route, operation):
        error = kind()
        told.setdefault(api.shape(error)[0], {})[error.message] = None
    for status, message in operation.failures.items():
        told.setdefault(status, {})[message] = None
    for status, messages in sorted(told.items()):
        answers[str(status)] = _answer(" ".join(messages), about.error, status=status)
    for other, (message, schema) in operation.others.items():
        answers[str(other)] = _answer(message, schema)
    return answers


def _errors(route: Route, operation: Operation) -> Iterator[type[ServiceError]]:
    yield from _ALWAYS
    if not route.keyless:
        yield from _KEYED
        if operation.model:
            yield from _OF_A_MODEL
    if route.body:
        yield from _OF_A_BODY


def _answer(about: str, schema: Schema | None, media: str = JSON, *, status: int = 0) -> dict[str, Any]:
    names = ["x-request-id"]
    if status in (429, 503):
        names += ["retry-after", "retry-after-ms"]
    if status in (500, 504):
        names.append("x-should-retry")
    return {
        "description": about,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        **({} if schema is None else {"content": {media: {"schema": schema}}}),
    }
