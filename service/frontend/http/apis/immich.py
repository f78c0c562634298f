"""The routes of immich's machine learning server, for smart search. Its `GET /ping` is that of `health.py`.

entries={"clip": {"visual": {"modelName"}}}, image=… ─▶ {"clip": "[…]", "imageHeight", "imageWidth"}
entries={"clip": {"textual": {"modelName"}}}, text=… ─▶ {"clip": "[…]"}
entries without clip ─▶ --immich-upstream, as it came, and its answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.frontend.api.errors import Code, Entry, InvalidRequest, QueueFull, ServiceError
from service.frontend.api.messages import Image, Options
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.http.json_body import read_object
from service.frontend.http.request import Form, FormPart, Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]

CONNECT_SECONDS = 5.0
UPSTREAM_SECONDS = 300.0
"""An immich server that needs a model for the first time loads it from the internet before it answers."""
UPSTREAM_REQUESTS = 32
"""How many are passed on at a time, by each frontend; more are refused. immich sends a few."""
UPSTREAM_BYTES = 16 << 20
"""Of an answer."""

LONGEST_ENTRIES = 64 << 10
"""immich sends a few hundred bytes. They are read on the event loop, unlike large bodies of JSON."""

VIA = "1.1 altclip"
"""Says that it was passed on: an address that leads back to this server would have it go round for ever."""

_KINDS = {"visual": "image", "textual": "text"}
"""The part of the form that each has."""


class BrokenEntries(ServiceError):
    """`entries` is missing or says nothing that immich says."""

    @property
    def entry(self) -> Entry:
        """The row of this class."""
        return Entry("BROKEN_ENTRIES", Code.INVALID_ARGUMENT, 422)


class UpstreamFailed(ServiceError):
    """The other machine learning server gave no answer."""

    @property
    def entry(self) -> Entry:
        """The row of this class."""
        return Entry("UPSTREAM_FAILED", Code.UNAVAILABLE, 502)


class UpstreamTooSlow(ServiceError):
    """The other machine learning server gave no answer in time."""

    default_message = f"The server of the other tasks did not answer within {UPSTREAM_SECONDS:g} s."

    @property
    def entry(self) -> Entry:
        """The row of this class."""
        return Entry("UPSTREAM_TOO_SLOW", Code.DEADLINE_EXCEEDED, 504)


def api(service: Service) -> Api:
    """The route."""
    route = Route("POST", "/predict", _Handlers(service).predict, body="multipart")
    return Api("immich", [route], shape=error_body)


def error_body(error: ServiceError) -> tuple[int, Any]:
    """immich's shape."""
    return error.entry.http_status, {"detail": error.message}


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service
    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPSTREAM_REQUESTS))

    async def predict(self, request: Request) -> Response:
        entries = read_entries(request.form)
        if "clip" not in entries:
            return await self._passed_on(request)
        if len(entries) > 1:
            raise InvalidRequest.at(
                "entries", "holds clip and other tasks; send each in a request of its own"
            )
        kind, model = clip(entries["clip"])
        part = payload(request.form, kind)
        items = [WholeItem(part.path, [part])]
        done = await self.service.embed(request, model, items, Options(), path=part.path)
        row = orjson.dumps(done.rows[0], option=orjson.OPT_SERIALIZE_NUMPY).decode()
        answer: dict[str, Any] = {"clip": row}
        for width, height in done.image_sizes:
            answer |= {"imageHeight": height, "imageWidth": width}
        return Response.of(answer)

    async def _passed_on(self, request: Request) -> Response:
        upstream = self.service.settings.immich_upstream
        if not upstream:
            raise InvalidRequest.at(
                "entries", "this server answers clip only; --immich-upstream names one for other tasks"
            )
        if any(VIA in value for value in request.headers.get("via", ())):  # proxies add their names
            raise InvalidRequest("--immich-upstream leads back to this server.")
        if self.permits.locked():
            raise QueueFull("Too much is waiting for the server of the other tasks.")
        async with self.permits:
            return await pass_on(f"{upstream}/predict", request.form)


def read_entries(form: Form) -> Mapping[str, Any]:
    """The tasks by their names. Raises BrokenEntries."""
    given = [part.content for part in form if part.name == "entries"]
    if len(given) != 1:
        raise BrokenEntries("entries: the form has exactly one such field")
    if len(given[0]) > LONGEST_ENTRIES:
        raise BrokenEntries(f"entries: is longer than {LONGEST_ENTRIES} bytes")
    try:
        entries = read_object(given[0])
    except InvalidRequest:
        raise BrokenEntries("entries: is not a JSON object") from None
    if not entries:
        raise BrokenEntries("entries: names no task")
    return entries


def clip(task: Any) -> tuple[str, str]:
    """`visual` or `textual`, and the model's name. Raises BrokenEntries."""
    kinds = [*task] if isinstance(task, dict) else []
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        raise BrokenEntries("entries.clip: must hold either visual or textual")
    entry = task[kinds[0]]
    name = entry.get("modelName") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise BrokenEntries(f"entries.clip.{kinds[0]}.modelName: must be a string")
    return kinds[0], name


def payload(form: Form, kind: str) -> Part:
    """What is to be embedded."""
    name = _KINDS[kind]
    given = [part for part in form if part.name == name]
    if len(given) != 1:
        raise InvalidRequest.at(name, f"the form has exactly one such field for {kind}")
    if kind == "visual":
        return Part(name, image=Image(content=given[0].content))
    return Part(name, text=text_of(given[0]))


def text_of(part: FormPart) -> str:
    """What a field holds."""
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise InvalidRequest.at(part.name[:100], "is not valid UTF-8") from None


async def pass_on(url: str, form: Form) -> Response:
    """The answer of another server to the same form. No header of the caller's is sent, no key either."""
    import aiohttp  # loaded only where it is used

    data = aiohttp.FormData(default_to_multipart=True)
    for part in form:
        if part.file:
            data.add_field(part.name, part.content, filename="blob")
        else:
            data.add_field(part.name, text_of(part))
    limits = aiohttp.ClientTimeout(total=UPSTREAM_SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=data, headers={"via": VIA}, allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400:
                raise UpstreamFailed("The server of the other tasks redirects.")
            content = bytearray()
            async for some in response.content.iter_any():
                content += some
                if len(content) > UPSTREAM_BYTES:
                    raise UpstreamFailed("The answer of the server of the other tasks is too large.")
            return Response(bytes(content), response.status, response.content_type)
    except aiohttp.ConnectionTimeoutError:
        raise UpstreamFailed("The server of the other tasks could not be reached.") from None
    except TimeoutError:
        raise UpstreamTooSlow from None
    except (aiohttp.ClientError, OSError):
        raise UpstreamFailed("The server of the other tasks could not be asked.") from None
