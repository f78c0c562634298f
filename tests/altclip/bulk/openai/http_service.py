"""A small HTTP server in this process that answers requests of a batch file, and fails on request."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Service:
    """It fails for some inputs, holds others back, and remembers what it was asked.

    Attributes:
        failing: Inputs that are answered with 400.
        held: Inputs that are answered after `released`.
        cut_off: Inputs whose next answer breaks off after half of it.
        closes: Whether it closes each connection after its answer, without saying so before.
        asked: All inputs, as they came.
        keys: What was sent as `authorization`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.failing: set[str] = set()
        self.held: set[str] = set()
        self.cut_off: set[str] = set()
        self.closes = False
        self.released = threading.Event()
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
                service.asked.append(asked)
                service.keys.append(self.headers["authorization"])
                if asked in service.held:
                    service.released.wait()
                status = 200
                body: dict[str, Any] = {"model": "m", "revision": "r", "data": [{"embedding": [1.0]}]}
                if asked in service.failing:
                    status, body = 400, {"error": {"message": "not now"}}
                content = json.dumps(body).encode()
                with contextlib.suppress(ConnectionError):  # the command was killed
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    if asked in service.cut_off:
                        service.cut_off.remove(asked)
                        content = content[: len(content) // 2]
                        self.close_connection = True
                    self.wfile.write(content)
                self.close_connection = self.close_connection or service.closes

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Tells nothing."""

        return Handler
