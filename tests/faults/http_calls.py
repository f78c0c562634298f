"""Calls over HTTP as a client without retries makes them, each on a connection of its own."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.server import RunningServer
from tests.service.http.asking import post_request

__all__ = ["Reply", "address", "ask", "asking_health", "begun", "get"]


class Reply(NamedTuple):
    """headers: names in lower case. ended: on the monotonic clock."""

    status: int
    headers: Mapping[str, str]
    json: Any
    ended: float

    @property
    def code(self) -> str:
        """The reason of an error."""
        return str(self.json["error"]["code"])

    def says_when_to_come_again(self) -> bool:
        """In both headers, of which one is in whole seconds and not too early."""
        milliseconds, seconds = int(self.headers["retry-after-ms"]), int(self.headers["retry-after"])
        return 0 < milliseconds <= 1000 * seconds


def address(server: RunningServer) -> tuple[str, int]:
    host, _, port = server.http.rpartition(":")
    return host, int(port)


def ask(
    server: RunningServer, *texts: str, path: str = "/v1/embeddings", seconds: float = 60.0, **body: Any
) -> Reply:
    """An embeddings request of these texts, or of what `body` says. seconds: the deadline."""
    sent = {**({"input": list(texts)} if texts else {}), **body}
    headers = {"content-type": "application/json", "x-request-timeout-ms": str(round(seconds * 1000))}
    return _request(server, "POST", path, json.dumps(sent).encode(), headers, seconds + 10)


def get(server: RunningServer, path: str) -> Reply:
    return _request(server, "GET", path, None, {}, 60)


def _request(
    server: RunningServer,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    seconds: float,
) -> Reply:
    connection = http.client.HTTPConnection(*address(server), timeout=seconds)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, json.loads(content), time.monotonic())
    finally:
        connection.close()


def begun(server: RunningServer, *texts: str) -> socket.socket:
    """A connection on which a request was sent and nobody has read an answer."""
    connection = socket.create_connection(address(server), timeout=60)
    connection.sendall(post_request(json.dumps({"input": list(texts)}).encode()))
    return connection


@contextmanager
def asking_health(server: RunningServer) -> Iterator[list[float]]:
    """Asks twenty times a second whether it is ready; how long each answer took."""
    took: list[float] = []
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):
            started = time.monotonic()
            answer = get(server, "/readyz")
            took.append(answer.ended - started)
            assert answer.status == 200

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(60)
