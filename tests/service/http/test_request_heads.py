"""What stands around a body: request lines, headers and trailers; too much of them, no sense in them, and
offers of another protocol."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from service.frontend.http.protocol import BOUNDS
from tests.service.http.asking import (
    HEALTH,
    KEY,
    Asking,
    answered,
    connected,
    connections,
    keyed,
    post_request,
)
from tests.service.http.conftest import Arriving
from tests.service.running import eventually

GOOD = b'{"input": "a"}'
CHUNKED = post_request(b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
CHUNKS = b"%x\r\n%s\r\n0\r\n" % (len(GOOD), GOOD)


UNPARSABLE = [
    b"CONNECT a:80",
    b"CONNECT a://b/",
    b"GET http://host",
    b"GET http://[::1",
    b"GET /\xff",
]


@pytest.mark.parametrize("line", UNPARSABLE)
async def test_a_request_line_of_no_use_is_answered(http: Asking, line: bytes) -> None:
    bad = line + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"
    got = await http.raw(bad)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    async with connected(http) as (reader, writer):
        for sent, expected in ((HEALTH, 200), (bad, 400)):
            writer.write(sent)
            assert (await answered(reader))[0] == expected
        assert await reader.read() == b""
    await eventually(lambda: not connections(http))
    assert http.counted("other", 400) == 2


@pytest.mark.parametrize("line", UNPARSABLE)
async def test_it_costs_the_request_before_it_nothing(http: Asking, line: bytes, arriving: Arriving) -> None:
    sent = HEALTH + line + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"
    arriving(len(sent))
    async with connected(http) as (reader, writer):
        writer.write(sent)
        status, head, _ = await answered(reader)
        assert (status, b"connection: close" in head) == (200, True)
        assert await reader.read() == b""
    await eventually(lambda: not connections(http))


async def test_who_is_refused_may_send_on_and_has_the_answer(http: Asking) -> None:
    """A connection that is closed while its client sends is reset, and what it had not read yet is lost."""
    async with connected(http) as (reader, writer):
        writer.write(b"\0" + b"a" * 5_000_000)
        await writer.drain()
        assert (await answered(reader))[0] == 400
        writer.write(b"a" * 1_000_000)
        await writer.drain()
        assert await reader.read() == b""
        (one,) = connections(http)
        assert one._bounded.overdue(BOUNDS, time.monotonic() + BOUNDS.first_request + 1)
    await eventually(lambda: not connections(http))


@pytest.mark.parametrize(
    "fields", [b"a: " + b"b" * 100_000, b"a: b\r\n" * 20_000, b"a" * 100_000, b"a: b\r\n" * 20_000 + b"\r\n"]
)
async def test_headers_are_bounded(http: Asking, fields: bytes) -> None:
    got = await http.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + fields)
    assert got.startswith(b"HTTP/1.1 431 ")
    assert http.counted("other", 431) == 1


@pytest.mark.parametrize(("number", "status"), [(200, 200), (300, 431)])
async def test_short_headers_are_bounded_by_their_number(http: Asking, number: int, status: int) -> None:
    fields = b"".join(b"%d:\r\n" % index for index in range(number))
    got = await http.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + fields + b"\r\n")
    assert got.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("size", [66_000, 250_000])
async def test_headers_are_bounded_where_they_come_at_once(
    http: Asking, size: int, arriving: Arriving
) -> None:
    sent = b"GET /healthz HTTP/1.1\r\nhost: x\r\na: %s\r\n\r\n" % (b"b" * size)
    arriving(len(sent))
    assert (await http.raw(sent)).startswith(b"HTTP/1.1 431 ")


async def test_a_request_line_is_bounded(http: Asking) -> None:
    assert (await http.raw(b"GET /" + b"a" * 100_000)).startswith(b"HTTP/1.1 431 ")


async def test_the_bound_is_that_of_each_request(http: Asking, arriving: Arriving) -> None:
    sent = (b"GET /healthz HTTP/1.1\r\nhost: x\r\na: %s\r\n\r\n" % (b"b" * 60_000)) * 4
    arriving(len(sent))
    async with connected(http) as (reader, writer):
        writer.write(sent)
        for _ in range(4):
            assert (await answered(reader))[0] == 200


async def test_a_later_header_has_as_little_time_as_the_first(http: Asking) -> None:
    def overdue() -> bool:
        (one,) = connections(http)
        assert not one._bounded.busy
        return bool(one._bounded.overdue(BOUNDS, time.monotonic() + BOUNDS.first_request + 1))

    async with connected(http) as (reader, writer):
        await eventually(lambda: connections(http))
        assert overdue()
        for _ in range(2):
            writer.write(HEALTH)
            assert (await answered(reader))[0] == 200
            assert not overdue()
            writer.write(HEALTH[:1])
            await eventually(overdue)
            writer.write(HEALTH[1:])
            assert (await answered(reader))[0] == 200
            assert not overdue()


@pytest.mark.parametrize("size", [1, 0])
async def test_trailers_change_no_header(size: int, arriving: Arriving) -> None:
    trailers = b"x-api-key: wrong\r\nx-request-id: of-the-trailer\r\nhost: b\r\n\r\n"
    async with keyed() as http, connected(http) as (reader, writer):
        key = f"authorization: {KEY['authorization']}\r\n\r\n".encode()
        sent = CHUNKED[:-2] + key + CHUNKS + trailers
        arriving(size or len(sent))
        for _ in range(2):
            writer.write(sent)
            status, head, _ = await answered(reader)
            assert (status, b"of-the-trailer" in head) == (200, False)


TRAILERS = [b"a:b\r\n" * 200_000, b"a: " + b"b" * 200_000, b"a" * 200_000, b"a:b\r\n" * 20_000 + b"\r\n"]


@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_are_bounded(http: Asking, trailers: bytes) -> None:
    got = await http.raw(CHUNKED + CHUNKS + trailers)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"not valid HTTP" in got
    assert http.counted("/v1/embeddings", 400) == 1


@pytest.mark.parametrize("trailers", TRAILERS)
async def test_a_strangers_trailers_are_bounded_and_not_kept(trailers: bytes) -> None:
    async with keyed() as http, connected(http) as (reader, writer):
        writer.write(CHUNKED)
        assert (await answered(reader))[0] == 401
        (one,) = connections(http)
        writer.write(CHUNKS + trailers)
        await writer.drain()
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        assert one.broken
        assert len(one.headers) == 3


async def test_a_chunks_extension_is_bounded(http: Asking) -> None:
    got = await http.raw(CHUNKED + b"5;a=" + b"b" * 200_000)
    assert got.startswith(b"HTTP/1.1 400 ")


OFFERS = ["h2c", "websocket", "TLS/1.3"]
LENGTH = f"content-length: {len(GOOD)}\r\n\r\n".encode()


def offering(upgrade: str, *headers: str) -> bytes:
    """The head of a POST, but for its framing, as the JDK's client sends it by default."""
    lines = ["connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAAB", f"Upgrade: {upgrade}"]
    return post_request(b"", *lines, *headers).replace(b"content-length: 0\r\n\r\n", b"")


@pytest.mark.parametrize("size", [1, 0])
@pytest.mark.parametrize("framing", [LENGTH + GOOD, b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + b"\r\n"])
@pytest.mark.parametrize("upgrade", OFFERS)
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(
    http: Asking, upgrade: str, framing: bytes, size: int, arriving: Arriving
) -> None:
    one = offering(upgrade, "x-request-id: mine") + framing
    sent = one + HEALTH + one + one
    arriving(size or len(sent))
    async with connected(http) as (reader, writer):
        for _ in range(2):
            writer.write(sent)
            for route in ("embed", "health", "embed", "embed"):
                status, head, content = await answered(reader)
                assert status == 200
                if route == "embed":
                    assert b"x-request-id: mine" in head
                    assert len(json.loads(content)["data"]) == 1
                else:
                    assert content == b'{"alive":true}'
    assert http.counted("/v1/embeddings", 200) == 6


async def test_an_offer_without_a_body_is_ignored(http: Asking) -> None:
    async with connected(http) as (reader, writer):
        for upgrade in OFFERS:
            writer.write(HEALTH[:-2] + f"connection: upgrade\r\nupgrade: {upgrade}\r\n\r\n".encode())
            assert (await answered(reader))[0] == 200


async def test_a_client_that_waits_before_its_body_is_told_to_go_on(http: Asking) -> None:
    async with connected(http) as (reader, writer):
        for _ in range(2):
            writer.write(offering("h2c", "expect: 100-continue") + LENGTH)
            async with asyncio.timeout(60):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(GOOD)
            assert (await answered(reader))[0] == 200


async def test_an_offer_on_a_connection_that_ends_is_ignored(http: Asking, arriving: Arriving) -> None:
    close = offering("h2c").replace(b"connection: Upgrade", b"connection: close, Upgrade") + LENGTH + GOOD
    arriving(len(close))
    got = await http.raw(close)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(got.partition(b"\r\n\r\n")[2])["data"]) == 1
