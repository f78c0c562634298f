"""An embeddings request in OpenAI's terms, wherever it comes from: its options, the work, and the answer.

options, items ─ Service.embed ─▶ rows ─▶ {"object": "list", "data": […], "usage": …}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Encoding, Matrix, Options, Orientation
from service.frontend.core.embed_items import EmbeddedItems, WholeItem
from service.frontend.http import fields
from service.frontend.http.errors import openai_detail
from service.frontend.http.request import Request
from service.frontend.http.routes import Response
from service.frontend.http.rows import (
    ENCODINGS,
    NUMBERS,
    Numbers,
    Row,
    embedding_rows,
    json_list,
    number_rows,
)
from service.frontend.http.service import Service

__all__ = ["Wanted", "answer", "embed", "wanted"]

_FORMATS = {"float": False, "base64": True}
_POLICIES = {"fail": True, "per_item": False}
_TRUNCATIONS = {"truncate": False, "reject": True}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of an embeddings request. strict: one bad item fails all. numbers: in place of encoding."""

    model: str
    encoding: Encoding
    numbers: Numbers | None
    as_base64: bool
    normalize: bool
    reject: bool
    strict: bool
    orientation: Orientation


def wanted(service: Service, request: Request) -> Wanted:
    """Reads all options, and sets the call's priority."""
    body = request.body
    model = fields.string(body, "model")
    dtype = fields.either(body, "embed_dtype", "embedding_type")
    if body.get("output_dtype") is not None and body.get(dtype) is not None:
        raise InvalidRequest.at("output_dtype", f"is given together with {dtype}; send one of them")
    normalize = fields.either(body, "normalize", "normalized")
    request.call.priority = fields.priority(body)
    found = service.model(request, model)
    width = found.pool.spec.dimension
    if body.get("dimensions") != 0:  # Infinity's clients send 0 where they want no other width
        fields.dimensions(body, width)
    fields.dimensions(body, width, "output_dimension")
    return Wanted(
        model=model,
        encoding=fields.choice(body, dtype, ENCODINGS, Encoding.FLOAT32),
        numbers=fields.choice(body, "output_dtype", NUMBERS, None),
        as_base64=fields.choice(body, "encoding_format", _FORMATS, False),
        normalize=fields.boolean(body, normalize, True),
        reject=_rejects(body, found.pool.spec.max_tokens),
        strict=fields.choice(body, "error_policy", _POLICIES, True),
        orientation=fields.orientation(body),
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


async def embed(
    service: Service, request: Request, chosen: Wanted, items: Sequence[WholeItem], *, path: str
) -> EmbeddedItems:
    """Row i belongs to items[i]. path: of the list of items."""
    options = Options(
        encoding=chosen.encoding,
        normalize=chosen.normalize,
        reject=chosen.reject,
        orientation=chosen.orientation,
    )
    return await service.embed(request, chosen.model, items, options, path=path, strict=chosen.strict)


def written_rows(rows: Matrix, chosen: Wanted) -> Iterator[Row]:
    """Each row as it stands in the answer. Voyage's client reads the types as Voyage writes them."""
    if chosen.numbers is None:
        return embedding_rows(rows, chosen.encoding, as_base64=chosen.as_base64)
    return ((row, None) for row in number_rows(rows, chosen.numbers, as_base64=chosen.as_base64))


async def answer(done: EmbeddedItems, chosen: Wanted) -> Response:
    """The whole answer, a failed item with its error in place of an embedding."""
    data: list[dict[str, Any]] = []
    for index, (row, scale) in enumerate(written_rows(done.rows, chosen)):
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
