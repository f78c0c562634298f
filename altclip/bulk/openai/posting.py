"""Posts requests over HTTP, several at a time, and gives the answers in the order of the requests.

A server that is full, restarts or cannot be reached is tried again until nothing was answered for the whole
patience; whatever else it answers is the answer.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import ssl
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from altclip.bulk.openai.requests import BatchRequest, is_sendable
from altclip.bulk.sources.locations import one_line
from altclip.bulk.tries import next_try, pause_after
from altclip.datasets.items import DataError
from altclip.errors import PermissionDenied, Unauthenticated, Unavailable

AT_A_TIME = 8
PASSING = frozenset({408, 425, 429, 502, 503})
"""Statuses of a server that answers later."""
MOST_TRIES = 5
"""Of a request that is answered with another status of 500 and more."""
LONGEST_ANSWER = 1 << 30
"""Bytes."""
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 10.0, 3600.0
"""Seconds in which nothing comes over a connection. A socket takes no infinite time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered to a request."""

    request: BatchRequest
    status: int
    headers: Mapping[str, str]
    content: bytes


class Stopped(Exception):
    """The run has ended, and this request was not answered."""


@dataclass
class Gateway:
    """Where requests are posted to.

    Attributes:
        url: Of the service, such as `http://localhost:8080`.
        key: Sent as `authorization: Bearer`; none where it is empty.
        patience: Seconds without any answer until it gives up.
        trust: Which servers are trusted over https, and the certificate that is shown to them; None for the
            system's authorities, and no certificate.
        tell: Told when the service cannot be used now.
    """

    url: str
    key: str = ""
    patience: float = 600.0
    trust: ssl.SSLContext | None = None
    tell: Callable[[str], object] = lambda line: None

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            self._tls = parts.scheme == "https"
            self._host = parts.hostname or ""
            # Without a port `HTTPConnection` looks for one in the host: it takes ::1 for port 1 of host ":".
            self._port = (443 if self._tls else 80) if parts.port is None else parts.port
            http.client.HTTPConnection(self._host, self._port)  # refuses hosts that it cannot send
            self._host.encode("idna")  # as does whoever looks them up
        except (ValueError, http.client.InvalidURL):
            self._host = ""
        if not self._host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            raise DataError(f"--http must be an address such as http://localhost:8080, not {self.url!r}")
        if not is_sendable(parts.path):
            raise DataError(f"--http must have spaces and other characters escaped (%20), not {self.url!r}")
        if self.trust is not None and not self._tls:
            raise DataError(f"certificates are for an address that begins with https://, not {self.url!r}")
        self._prefix = parts.path.rstrip("/")
        self._moved = time.monotonic()

    def answers(self, requests: Iterable[BatchRequest]) -> Generator[Answer]:
        """Raises Unavailable when patience ends, Unauthenticated and PermissionDenied."""
        work: queue.SimpleQueue[tuple[BatchRequest, Future[Answer]] | None] = queue.SimpleQueue()
        self._moved = time.monotonic()
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._work, args=(work, stop), name="altclip-openai", daemon=True)
            for _ in range(AT_A_TIME)
        ]
        for thread in threads:
            thread.start()
        waiting: deque[Future[Answer]] = deque()
        try:
            for request in requests:
                waiting.append(Future())
                work.put((request, waiting[-1]))
                # Some answers may wait for an earlier one, so that all connections stay busy.
                if len(waiting) == 4 * AT_A_TIME:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            for _ in threads:
                work.put(None)

    def _work(
        self, work: queue.SimpleQueue[tuple[BatchRequest, Future[Answer]] | None], stop: threading.Event
    ) -> None:
        connection = None
        while (given := work.get()) is not None:
            request, future = given
            try:
                connection = connection or self._connection()
                future.set_result(self._answer(connection, request, stop))
            except BaseException as error:
                future.set_exception(error)
        if connection is not None:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        timeout = min(max(self.patience, SHORTEST_TIMEOUT), LONGEST_TIMEOUT)
        if self._tls:
            trust = self.trust or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=trust)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _answer(
        self, connection: http.client.HTTPConnection, request: BatchRequest, stop: threading.Event
    ) -> Answer:
        passing = failed = 0
        while True:
            if stop.is_set():
                raise Stopped
            asked_to_wait = 0.0
            was_open = connection.sock is not None
            try:
                answer = self._post(connection, request)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if was_open and isinstance(error, ConnectionError | ssl.SSLEOFError):
                    continue  # servers close connections that were idle; a new one tells whether it is there
                problem = f"no server answers at {self.url}: {one_line(error)}"
            else:
                if answer.status in (401, 403):
                    kind = Unauthenticated if answer.status == 401 else PermissionDenied
                    raise kind(f"{self.url} refuses the key: {_told(answer)}")
                if answer.status not in PASSING:
                    failed += answer.status >= 500
                    wanted_again = answer.headers.get("x-should-retry") != "false"
                    if answer.status < 500 or not wanted_again or failed == MOST_TRIES:
                        self._moved = time.monotonic()
                        return answer
                problem = f"{self.url} answers {answer.status}: {_told(answer)}"
                asked_to_wait = _seconds_to_wait(answer.headers)
            pause = pause_after(passing, asked_to_wait)
            passing += 1
            if time.monotonic() + pause - self._moved > self.patience:
                raise Unavailable(problem)
            self.tell(next_try(problem, pause))
            stop.wait(pause)

    def _post(self, connection: http.client.HTTPConnection, request: BatchRequest) -> Answer:
        headers = {"content-type": "application/json", "x-request-id": request.id}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        connection.request("POST", self._prefix + request.url, request.sent(), headers)
        response = connection.getresponse()
        content = response.read(LONGEST_ANSWER + 1)
        if len(content) > LONGEST_ANSWER:
            raise DataError(f"the answer to {request.custom_id!r} is longer than {LONGEST_ANSWER >> 30} GiB")
        if response.length:  # bytes that were promised: with an amount, `read` takes what is there for whole
            raise http.client.IncompleteRead(content, response.length)
        found = {name.lower(): value for name, value in response.getheaders()}
        if found.get("connection", "").lower() == "close":
            connection.close()
        return Answer(request, response.status, found, content)


def _seconds_to_wait(headers: Mapping[str, str]) -> float:
    with contextlib.suppress(ValueError):
        if "retry-after-ms" in headers:
            return float(headers["retry-after-ms"]) / 1000
        return float(headers.get("retry-after", "0"))
    return 0.0


def _told(answer: Answer) -> str:
    return " ".join(answer.content[:200].decode("utf-8", "replace").split())
