"""The playground: its page, the page's files, and the numbers of its live strip."""

from __future__ import annotations

from service.frontend.http.errors import NotFound
from service.frontend.http.playground import status
from service.frontend.http.playground.files import HEADERS, INDEX, File, files
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.service import Service

__all__ = ["api"]

PICTURE_SECONDS = 60
"""The page asks for each picture twice, to show it and to embed it. The second time within so many seconds,
the browser has it."""


def api(service: Service) -> Api:
    """The routes. Only the numbers need a key: they are the server's, the files are anybody's. An open page
    asks for them every few seconds, which must not use up what the key may do."""
    handlers = _Handlers(service)
    return Api(
        "",
        [
            Route("GET", "/", handlers.page, keyless=True, body=""),
            Route("GET", "/playground/status", handlers.status, body="", free=True),
            Route("GET", "/playground/{file}", handlers.file, keyless=True, body=""),
        ],
    )


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._looks = status.Looks(service.core.totals)

    async def page(self, request: Request) -> Response:
        return _answer(request, files()[INDEX])

    async def file(self, request: Request) -> Response:
        found = files().get(request.rest)
        if found is None:
            raise NotFound
        return _answer(request, found)

    async def status(self, request: Request) -> Response:
        core = self._service.core
        body = status.describe(core, request.call, self._looks, ready=self._service.ready)
        answer = Response.of(body)
        return Response(answer.body, headers=(("cache-control", "no-store"),))


def _answer(request: Request, file: File) -> Response:
    """The file, or that the browser has it already. It asks each time, as a new server has new files; but for
    pictures, see above."""
    caching = f"max-age={PICTURE_SECONDS}" if file.content_type == "image/png" else "no-cache"
    headers = (*HEADERS, ("cache-control", caching), ("etag", file.etag))
    if file.etag in request.header("if-none-match"):
        return Response(b"", 304, "", headers)
    return Response(file.content, 200, file.content_type, headers)
