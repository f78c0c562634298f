"""What clients do to a connection: one request after another, garbage, too slow, gone, never reading."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from service.frontend.http import body as bodies
from service.frontend.http import protocol, server
from service.listening.connections import Bounds
from tests.service.http.asking import (
    HEALTH,
    KEY,
    Asking,
    answered,
    asking,
    connected,
    connections,
    keyed,
    post_request,
)
from tests.service.http.conftest import Arriving
from tests.service.running import eventually

GOOD = b'{"input": "a"}'
LAST = HEALTH[:-2] + b"connection: close\r\n\r\n"


async def test_a_connection_is_used_for_one_request_after_another(http: Asking) -> None:
    async with connected(http) as (reader, writer):
        for _ in range(3):
            writer.write(post_request(GOOD))
            status, head, _ = await answered(reader)
            assert (status, b"connection: close" in head) == (200, False)


async def test_an_answer_waits_for_no_acknowledgement_and_leaves_as_one(http: Asking) -> None:
    async with connected(http) as (reader, writer):
        writer.write(HEALTH)
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            assert reader._buffer, head  # type: ignore[attr-defined]  # the body came with the head
        (connection,) = connections(http)
        accepted = connection.flow._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_pipelined_requests_are_answered_in_their_order(http: Asking) -> None:
    async with connected(http) as (reader, writer):
        texts = [f"text {number}" for number in range(20)]
        bodies = [json.dumps({"input": text, "encoding_format": "base64"}).encode() for text in texts]
        writer.write(b"".join(map(post_request, bodies)))
        for text in texts:
            status, _, content = await answered(reader)
            expected = (await http.embed(input=text, encoding_format="base64")).json["data"]
            assert (status, json.loads(content)["data"]) == (200, expected)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_and_the_connection_closed(http: Asking, garbage: bytes) -> None:
    got = await http.raw(garbage)
    assert got.startswith(b"HTTP/1.1 400 ")
    content = json.loads(got.partition(b"\r\n\r\n")[2])
    assert content["error"]["type"] == "invalid_request_error"
    assert http.counted("other", 400) + http.counted("/v1/embeddings", 400) == 1


GARBAGE = b"\0garbage\r\n\r\n"


@pytest.mark.parametrize("requests", [1, 3])
async def test_good_requests_before_garbage_have_their_answers(http: Asking, requests: int) -> None:
    hold = http.service.pool.hold = asyncio.Event()
    async with connected(http) as (reader, writer):
        writer.write(post_request(GOOD) * requests + GARBAGE)
        await eventually(lambda: http.service.pool.deadlines)
        hold.set()
        for _ in range(requests):
            status, _, content = await answered(reader)
            assert (status, len(json.loads(content)["data"])) == (200, 1)
        assert await reader.read() == b""


@pytest.mark.parametrize("age", [0.0, 1e-9], ids=["any age", "the first answer is the last"])
async def test_who_stays_after_garbage_is_closed_as_soon_as_one_who_is_silent(age: float) -> None:
    async with asking(max_connection_age=age) as http, connected(http) as (reader, writer):
        writer.write(HEALTH + HEALTH + GARBAGE)
        async with asyncio.timeout(60):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        (connection,) = connections(http)
        later = time.monotonic() + protocol.BOUNDS.first_request + 1
        assert connection._bounded.overdue(protocol.BOUNDS, later)


async def test_more_requests_than_are_taken_at_once_are_neither_read_nor_answered(http: Asking) -> None:
    hold = http.service.pool.hold = asyncio.Event()
    async with connected(http) as (reader, writer):
        writer.write(post_request(GOOD) + HEALTH * 500)
        await eventually(lambda: http.service.pool.deadlines)
        (connection,) = connections(http)
        assert len(connection.pipeline) < protocol.MOST_OWED
        hold.set()
        async with asyncio.timeout(60):
            answers = (await reader.read()).count(b"HTTP/1.1 200 ")
        assert protocol.MOST_OWED <= answers < 500


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"])
async def test_a_body_in_broken_chunks_is_refused(http: Asking, chunks: bytes) -> None:
    head = post_request(b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
    got = await http.raw(head + chunks)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"not valid HTTP" in got
    assert (await http.get("/healthz")).status == 200


async def test_a_body_in_good_chunks_is_read(http: Asking) -> None:
    head = post_request(b"", "transfer-encoding: chunked", "connection: close")
    chunks = b"5\r\n" + GOOD[:5] + b"\r\n" + b"9\r\n" + GOOD[5:] + b"\r\n0\r\n\r\n"
    assert (await http.raw(head.replace(b"content-length: 0\r\n", b"") + chunks)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_comes_too_slowly_is_refused(http: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "LINGER_WAITING_SECONDS", 0.1)
    async with connected(http) as (reader, writer):
        writer.write(post_request(GOOD)[:-3])
        status, _head, content = await answered(reader)
        assert (status, json.loads(content)["error"]["code"]) == (408, "request_timeout")
    assert http.counted("/v1/embeddings", 408) == 1


async def test_silent_connections_and_slow_heads_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BOUNDS", Bounds(connections=10, first_request=0.5))
    async with asking() as http:
        for sent in (b"", b"\r\n\r\n", HEALTH[:-2]):
            assert await http.raw(sent) == b""
    monkeypatch.setattr(server, "BOUNDS", Bounds(connections=10, first_request=60.0, idle=0.5))
    async with asking() as http, connected(http) as (reader, writer):
        writer.write(HEALTH)
        assert (await answered(reader))[0] == 200
        async with asyncio.timeout(60):
            assert await reader.read() == b""


async def test_a_crowd_of_silent_connections_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BOUNDS", Bounds(connections=20))
    async with asking() as http:
        host, _, port = http.service.http.rpartition(":")
        crowd = [socket.create_connection((host, int(port))) for _ in range(60)]
        try:
            for _ in range(5):
                assert (await http.raw(LAST)).startswith(b"HTTP/1.1 200 ")
        finally:
            for each in crowd:
                each.close()


def is_waiting(connection: Any) -> bool:
    """Whether a request waits for its body."""
    return connection.cycle is not None and bool(connection.cycle.message_event._waiters)


@pytest.mark.parametrize("padding", [0, 100_000])
async def test_who_closes_its_side_has_gone(http: Asking, padding: int, arriving: Arriving) -> None:
    http.service.pool.hold = asyncio.Event()
    body = GOOD + b" " * padding
    async with connected(http) as (_reader, writer):
        writer.write(post_request(body)[: -len(body)])
        await eventually(lambda: [each for each in connections(http) if is_waiting(each)])
        arriving(len(body))
        writer.write(body)
        await eventually(lambda: http.service.pool.deadlines)
        writer.write_eof()
        await eventually(lambda: http.counted("/v1/embeddings", 499) == 1)
        assert len(http.service.pool.cancelled) == 1
    http.service.pool.hold.set()


async def test_who_goes_in_the_middle_of_a_body_leaves_nothing_behind(http: Asking) -> None:
    async with connected(http) as (_, writer):
        writer.write(post_request(b'{"input": "' + b"a" * 100_000 + b'"}')[:-50])
        await writer.drain()
    await eventually(lambda: http.counted("/v1/embeddings", 499) == 1)
    assert http.service.server.core.gate.active == 0
    assert (await http.embed(input="a")).status == 200


async def test_http_1_0_is_answered_and_closed(http: Asking) -> None:
    got = await http.raw(b"GET /healthz HTTP/1.0\r\nhost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 ")


async def test_after_a_short_refused_body_the_connection_goes_on() -> None:
    async with keyed() as http, connected(http) as (reader, writer):
        for key, status in (("wrong", 401), (KEY["authorization"].split()[1], 200)):
            writer.write(post_request(GOOD, f"x-api-key: {key}"))
            assert (await answered(reader))[0] == status


async def test_after_a_long_refused_body_it_is_closed_once_the_client_has_the_answer() -> None:
    async with keyed() as http, connected(http) as (reader, writer):
        writer.write(post_request(b"x" * 5_000_000))  # sent whole before the answer is read
        await writer.drain()
        status, head, _ = await answered(reader)
        assert (status, b"connection: close" in head) == (401, True)
        assert await reader.read() == b""


async def test_what_all_bodies_hold_together_is_bounded() -> None:
    async with asking(http_max_body_bytes=1 << 20, max_queue_bytes=3 << 20) as http:
        large = json.dumps({"input": "a" * 1_000_000}).encode()
        async with connected(http) as (_, first):
            first.write(post_request(large)[:-2])
            await first.drain()
            await eventually(lambda: held(http) > 900_000)
            answer = await http.post("/v1/embeddings", large)
            assert (answer.status, answer.error["code"]) == (429, "queue_full")
            assert "retry-after-ms" in answer.headers
        await eventually(lambda: held(http) == 0)
        assert (await http.post("/v1/embeddings", large)).status == 400  # the text is too long


def held(http: Asking) -> int:
    (transport,) = [each for each in http.service.server._transports if each.name == "http"]
    assert isinstance(transport, server.HttpTransport)
    return transport._gateway._bodies._held


async def test_what_all_bodies_are_made_into_is_bounded_too() -> None:
    """Values take more memory than their text, even those that nobody looks at."""
    async with asking(http_max_body_bytes=1 << 20, max_queue_bytes=1 << 20) as http:
        hold = http.service.pool.hold = asyncio.Event()
        many = {"input": "a", "ignored": [0] * 150_000}
        first = asyncio.create_task(http.post("/v1/embeddings", many))
        await eventually(lambda: http.service.pool.deadlines)
        answer = await http.embed(input="b")
        assert (answer.status, answer.error["code"]) == (429, "queue_full")
        hold.set()
        assert (await first).status == 200
        assert held(http) == 0
        assert (await http.embed(input="b")).status == 200


async def test_who_reads_nothing_is_let_go_and_nobody_else_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BOUNDS", Bounds(connections=10, stalled=1.0))
    large = json.dumps({"input": ["a"] * 2048, "normalize": False}).encode()
    async with asking() as http:
        host, _, port = http.service.http.rpartition(":")
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((host, int(port)))
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(lazy, post_request(large) * 50)
        await eventually(lambda: http.counted("/v1/embeddings", 200) >= 1)
        assert (await http.embed(input="a")).status == 200
        await eventually(lambda: not connections(http) or len(connections(http)) <= 1)
        assert http.counted("/v1/embeddings", 200) < 50
        lazy.close()


async def test_a_drain_ends_connections_that_are_idle_or_half_asked(http: Asking) -> None:
    async with connected(http) as (first, _), connected(http) as (second, writer):
        writer.write(HEALTH[:-2])
        await eventually(lambda: len(connections(http)) == 2)
        async with asyncio.timeout(60):
            assert await http.service.server.drain(600.0) == 0
            assert await first.read() == b""
            assert await second.read() == b""


def test_the_bounds_are_those_of_production() -> None:
    assert protocol.BOUNDS.first_request <= 10
    assert protocol.BOUNDS.stalled <= 60
