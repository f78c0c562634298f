"""Bodies larger than they may be, or made to cost more than they weigh: refused, over HTTP, and the memory of
the service stays within bounds. Neighbours are answered meanwhile."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.faults.harness import all_started, service
from tests.faults.hostile_input.test_21_oversized import growth_is_capped
from tests.faults.http_calls import address, ask
from tests.server import RunningServer
from tests.service.http.asking import post_request

MOST = 64 << 20
MOST_HELD = 256 << 20
"""A request of the most values that are read takes so much."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with service() as running:
        all_started(running)
        assert ask(running, "a").status == 200
        yield running


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    with socket.create_connection(address(server), timeout=60) as connection:
        yield connection


def head(length: int) -> bytes:
    """Of a request that announces a body of so many bytes."""
    return post_request(b"").replace(b"content-length: 0\r\n", f"content-length: {length}\r\n".encode())


def answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status, and OpenAI's error."""
    got = b""
    while b"\r\n\r\n" not in got or not got.endswith(b"}"):
        some = connection.recv(1 << 16)
        assert some, got
        got += some
    content = json.loads(got.partition(b"\r\n\r\n")[2])
    return int(got.split()[1]), content["error"]


def refused(server: RunningServer, body: bytes) -> dict[str, str]:
    """The error of a body that must be answered with 400."""
    with connected(server) as connection:
        connection.sendall(post_request(body))
        status, error = answer(connection)
        assert status == 400, error
        return error


def test_21_a_body_over_the_limit_is_refused_before_any_of_it_is_read(server: RunningServer) -> None:
    with growth_is_capped(server), connected(server) as connection:
        connection.sendall(head(MOST + 1))
        status, error = answer(connection)
    assert (status, error["code"]) == (413, "payload_too_large")
    assert ask(server, "b").status == 200


def test_21_bodies_that_never_end_are_refused_at_the_limit(server: RunningServer) -> None:
    chunked = post_request(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with growth_is_capped(server), connected(server) as connection:
        connection.sendall(chunked)
        with suppress(ConnectionError):  # it is closed some time after the answer
            for _ in range(MOST // (1 << 20) + 1):
                connection.sendall(piece)
        status, error = answer(connection)
    assert (status, error["code"]) == (413, "payload_too_large")
    assert ask(server, "c").status == 200


def test_21_bodies_that_are_only_announced_take_no_memory(server: RunningServer) -> None:
    with growth_is_capped(server):
        connections = [socket.create_connection(address(server), timeout=60) for _ in range(50)]
        for connection in connections:
            connection.sendall(head(MOST) + b'{"input": "')
        assert ask(server, "d").status == 200
    for connection in connections:
        connection.close()


def test_21_bodies_that_weigh_little_and_hold_much_are_refused(server: RunningServer) -> None:
    """Of a few megabytes each: a million items, values without end, nesting, repeated names."""
    with growth_is_capped(server, MOST_HELD):
        assert refused(server, json.dumps({"input": ["a"] * 1_000_000}).encode())["param"] == "input"
        assert "values" in refused(server, b'{"input": [' + b"0," * 5_000_000 + b"0]}")["message"]
        endless = b"," * 4_200_000 + b'"' + b'\\"' * 2_000_000
        assert refused(server, endless)["type"] == "invalid_request_error"
        for nested in (b"[" * 1_000_000, b'{"input": ' * 200_000, b'{"a":' * 900 + b"1" + b"}" * 900):
            assert refused(server, nested)["type"] == "invalid_request_error"
        names = b",".join(b'"%d": 1' % (number % 100_000) for number in range(200_000))
        assert "twice" in refused(server, b"{" + names + b"}")["message"]
        assert ask(server, "e").status == 200


def test_21_a_compressed_body_is_refused_unread(server: RunningServer) -> None:
    with growth_is_capped(server), connected(server) as connection:
        connection.sendall(head(MOST).replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
        status, error = answer(connection)
    assert (status, error["code"]) == (415, "unsupported_media_type")
