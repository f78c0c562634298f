"""Our own route for files: images and texts as the parts of a form, answered as OpenAI's embeddings are.

image=@cat.jpg  text=a cat  embed_dtype=float16 …  ─▶ items in the order of the parts ─▶ /v1/embeddings
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Image
from service.frontend.calls.lifecycle import within_deadline
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.http.embeddings import answer, embed, wanted
from service.frontend.http.fields import number, set_deadline
from service.frontend.http.request import Form, FormPart, Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]

LONGEST_OPTION = 1024
_NO_STRINGS = frozenset(
    {
        "dimensions",
        "normalize",
        "normalized",
        "output_dimension",
        "priority",
        "timeout",
        "truncate_prompt_tokens",
        "truncation",
    }
)
"""Options that JSON has as a number, or as true or false."""
_WORDS = {"true": True, "false": False}


def api(service: Service) -> Api:
    """The route."""
    return Api("", [Route("POST", "/v1/embeddings/upload", _Handlers(service).upload, body="multipart")])


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def upload(self, request: Request) -> Response:
        request.body = options(request.form)
        if (timeout := request.body.get("timeout")) is not None:
            set_deadline(request.call, number(timeout, "timeout"), "timeout", time.monotonic())
        chosen = wanted(self.service, request)
        items = [item(part, index) for index, part in enumerate(rows(request.form))]
        async with within_deadline(request.call):
            return await answer(await embed(self.service, request, chosen, items, path="image"), chosen)


def rows(form: Form) -> list[FormPart]:
    """The parts that become embeddings."""
    return [part for part in form if part.name in ("image", "text")]


def item(part: FormPart, index: int) -> WholeItem:
    """index: of the row. Errors name it as `image[3]`."""
    path = f"{part.name}[{index}]"
    if part.name == "image":
        return WholeItem(path, [Part(path, image=Image(content=part.content))])
    try:
        return WholeItem(path, [Part(path, text=part.content.decode())])
    except UnicodeDecodeError:
        raise InvalidRequest.at(path, "is not valid UTF-8") from None


def options(form: Form) -> dict[str, Any]:
    """All other fields as JSON would have them. Of two with one name neither counts."""
    found: dict[str, Any] = {}
    for part in form:
        if part.name in ("image", "text"):
            continue
        name = part.name[:100]
        if part.name in found:
            raise InvalidRequest(f"The field {name!r} stands twice in the form.")
        if len(part.content) > LONGEST_OPTION:
            raise InvalidRequest(f"The field {name!r} is longer than {LONGEST_OPTION} bytes.")
        try:
            text = part.content.decode()
            found[part.name] = _value(text) if part.name in _NO_STRINGS else text or None
        except UnicodeDecodeError:
            raise InvalidRequest(f"The field {name!r} is not valid UTF-8.") from None
    return found


def _value(text: str) -> Any:
    if not text or text in _WORDS:
        return _WORDS.get(text)
    try:
        return int(text) if len(text) < 20 and text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text
