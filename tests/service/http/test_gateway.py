"""What is the same for every route: bodies, deadlines, errors, metrics, the drain."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.frontend import server as frontend
from service.frontend.http import gateway
from service.frontend.http.apis import table
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route, Routes
from service.frontend.http.service import Service
from tests.service.http.asking import SECRET, Asking, asking, connections, keyed, post_request
from tests.service.running import eventually, lingering, too_late
from worker.runtime.metric_labels import HTTP_ROUTES


async def test_unknown_routes_and_methods_are_told_apart(http: Asking) -> None:
    for path in ("/v1/embedding", "/v1/embeddings/", "/v1/models/", "/v2"):
        answer = await http.get(path)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    answer = await http.get("/v1/embeddings")
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    answer = await http.ask("DELETE", "/v1/models/m")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert http.counted("other", 404) == 4
    assert http.counted("/v1/models/{id}", 405) == 1


async def test_head_is_answered_as_get_is(http: Asking) -> None:
    answer = await http.ask("HEAD", "/v1/models")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 50


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "APPLICATION/JSON;charset=UTF8"}, 200),
        ({"content-type": "application/vnd.api+json"}, 200),
        ({"content-type": "application/json", "content-encoding": "identity"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "content-encoding": "br"}, 415),
    ],
)
async def test_a_body_is_read_as_what_it_says_it_is(
    http: Asking, headers: dict[str, str], status: int
) -> None:
    answer = await http.post("/v1/embeddings", b'{"input": "a"}', headers=headers)
    assert answer.status == status
    if status == 415:
        assert answer.error["code"] == "unsupported_media_type"


async def test_a_body_without_a_type_is_refused(http: Asking) -> None:
    body = b'{"input": "a"}'
    sent = post_request(body, "connection: close").replace(b"content-type: application/json\r\n", b"")
    assert (await http.raw(sent)).startswith(b"HTTP/1.1 415 ")


async def test_a_body_that_is_too_large_is_refused_before_it_came() -> None:
    async with asking(http_max_body_bytes=100_000) as http:
        body = json.dumps({"input": "a" * 60_000}).encode()
        assert (await http.post("/v1/embeddings", body)).status == 200
        answer = await http.post("/v1/embeddings", b"x" * 100_001)
        assert (answer.status, answer.error["code"]) == (413, "payload_too_large")
        assert "100000 bytes" in answer.error["message"]

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0)

        answer = await http.ask(
            "POST", "/v1/embeddings", data=endless(), headers={"content-type": "application/json"}
        )
        assert answer.status == 413


async def test_a_client_that_asks_before_it_sends_is_told_at_once() -> None:
    async with keyed() as http:
        body = b'{"input": "a"}'
        refused = await http.raw(post_request(body, "expect: 100-continue")[: -len(body)])
        assert refused.startswith(b"HTTP/1.1 401 ")
        allowed = post_request(body, "expect: 100-continue", f"x-api-key: {SECRET}", "connection: close")
        assert (await http.raw(allowed)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("in_body", "in_header"),
    [
        (lambda seconds: {"timeout": seconds}, lambda seconds: {}),
        (lambda seconds: {}, lambda seconds: {"x-request-timeout-ms": f"{1000 * seconds:.0f}"}),
        (lambda seconds: {"timeout": 100}, lambda seconds: {"x-request-timeout-ms": f"{1000 * seconds:.0f}"}),
    ],
    ids=["in the body", "in a header", "in both"],
)
async def test_a_deadline_that_passes_ends_the_request(
    http: Asking, in_body: Callable[[float], Any], in_header: Callable[[float], Any]
) -> None:
    http.service.pool.hold = asyncio.Event()

    async def ask(seconds: float) -> None:
        body = {"input": "a", **in_body(seconds)}
        answer = await http.post("/v1/embeddings", body, headers=in_header(seconds))
        assert (answer.status, answer.error["code"]) == (504, "deadline_too_short")
        assert answer.headers["x-should-retry"] == "false"

    await too_late(http.service, ask)
    await eventually(lambda: len(http.service.pool.cancelled) == len(http.service.pool.deadlines))
    http.service.pool.hold.set()


@pytest.mark.parametrize("step", ["values", "read_object"])
async def test_a_deadline_ends_what_waits_for_a_thread_that_reads_its_body(
    http: Asking, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Large bodies are counted and parsed in threads; here one stands still."""
    goes_on = threading.Event()
    monkeypatch.setattr(gateway, step, lambda raw: goes_on.wait())
    body = {"input": "a" * (gateway.INLINE_BYTES + 1)}
    try:
        async with asyncio.timeout(60):
            answer = await http.post("/v1/embeddings", body, headers={"x-request-timeout-ms": "200"})
        assert (answer.status, answer.error["code"]) == (504, "deadline_too_short")
    finally:
        goes_on.set()


@pytest.mark.parametrize("given", ["soon", "-1", "0", "1.5", "9" * 13])
async def test_a_deadline_that_is_no_time_is_refused(http: Asking, given: str) -> None:
    answer = await http.post("/v1/embeddings", {"input": "a"}, headers={"x-request-timeout-ms": given})
    assert (answer.status, answer.error["param"]) == (400, "x-request-timeout-ms")


async def test_the_request_id_comes_back_or_is_made(http: Asking) -> None:
    answer = await http.get("/healthz", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    for given in ({}, {"x-request-id": "x" * 129}, {"x-request-id": "caf\u00e9"}):
        made = (await http.get("/nowhere", headers=given)).headers["x-request-id"]
        assert len(made) == 16


async def test_a_client_that_goes_cancels_its_work(http: Asking) -> None:
    http.service.pool.hold = asyncio.Event()
    task = asyncio.create_task(http.embed(input="a"))
    await eventually(lambda: http.service.pool.deadlines)
    task.cancel()
    await eventually(lambda: len(http.service.pool.cancelled) == 1)
    await eventually(lambda: http.counted("/v1/embeddings", 499) == 1)
    assert http.caller_calls("anonymous", "CANCELLED") == 1
    assert http.service.metrics.http_request_duration.value("/v1/embeddings", "cancelled") == 1
    assert http.service.metrics.items.value("m", "text", "cancelled") == 1
    assert http.service.server.core.gate.active == 0
    http.service.pool.hold.set()


async def test_a_bug_tells_the_caller_nothing(http: Asking) -> None:
    http.service.pool.crash = RuntimeError("/secret/path")
    answer = await http.embed(input="a")
    assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "internal", "server_error")
    assert b"secret" not in answer.body
    assert b"Runtime" not in answer.body
    assert answer.headers["x-should-retry"] == "false"


async def test_a_drain_answers_what_was_admitted_and_refuses_the_rest(
    http: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_connections = lingering(monkeypatch)
    hold = http.service.pool.hold = asyncio.Event()
    admitted = asyncio.create_task(http.embed(input="a"))
    await eventually(lambda: http.service.pool.deadlines)
    draining = asyncio.create_task(http.service.server.drain(600.0))
    await eventually(lambda: http.service.server.core.gate.closed)
    ready = await http.get("/readyz")
    assert (ready.status, ready.json["ready"], ready.headers["connection"]) == (503, False, "close")
    refused = await http.embed(input="b")
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
    hold.set()
    answer = await admitted
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    close_connections.set()
    assert await asyncio.wait_for(draining, 60) == 0


async def test_a_drain_tells_how_many_requests_it_cut_off(http: Asking) -> None:
    hold = http.service.pool.hold = asyncio.Event()
    under_way = [asyncio.create_task(http.embed(input=text)) for text in "ab"]
    await eventually(lambda: len(http.service.pool.deadlines) == 2)
    assert await http.service.server.drain(0.5) == 2
    await asyncio.gather(*under_way, return_exceptions=True)
    hold.set()


async def test_a_drain_waits_until_a_slow_client_has_its_whole_answer(
    http: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontend, "LINGER", 0.0)
    monkeypatch.setattr(frontend, "LAST_WORDS", 0.0)
    host, _, port = http.service.http.rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        slow.connect((host, int(port)))
        slow.setblocking(False)
        await eventually(lambda: connections(http))
        (connection,) = connections(http)
        accepted = connection.flow._transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        await loop.sock_sendall(slow, post_request(json.dumps({"input": ["a"] * 2048}).encode()))
        await eventually(lambda: http.counted("/v1/embeddings", 200) == 1)
        draining = asyncio.create_task(http.service.server.drain(600.0))
        await asyncio.sleep(0.2)
        assert not draining.done()
        monkeypatch.setattr(frontend, "LAST_WORDS", 60.0)  # for the last bytes, on any machine
        got = b""
        async with asyncio.timeout(60):
            while some := await loop.sock_recv(slow, 1 << 16):
                got += some
            assert await draining == 0
    assert len(json.loads(got.partition(b"\r\n\r\n")[2])["data"]) == 2048


async def aged(http: Asking, seconds: float) -> bool:
    """Whether a connection that was open for so long before it asked is told to end."""
    await http.get("/healthz")
    (connection,) = connections(http)
    connection.connected_at -= seconds
    answer = await http.get("/healthz")
    assert answer.status == 200
    return answer.headers.get("connection") == "close"


async def test_a_connection_ends_with_an_answer_once_it_has_the_operators_age() -> None:
    async with asking(max_connection_age=3600.0) as http:
        assert await aged(http, 3600.0)
        assert "connection" not in (await http.get("/healthz")).headers  # a new one


@pytest.mark.parametrize(("age", "seconds"), [(3600.0, 1800.0), (0.0, 1e9)], ids=["young", "no age is set"])
async def test_a_connection_within_the_operators_age_stays(age: float, seconds: float) -> None:
    async with asking(max_connection_age=age) as http:
        assert not await aged(http, seconds)


async def test_every_route_stands_in_the_table_of_the_metrics(http: Asking) -> None:
    service = Service(http.service.server.core, 0.0)
    routes = Routes(table.chosen(service))
    served = {route.path for api in routes.apis for route in api.routes}
    assert served == set(HTTP_ROUTES)


async def test_a_route_that_the_metrics_do_not_know_is_answered_and_counted_as_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def greet(request: Request) -> Response:
        return Response.of({"hello": True})

    added = Api("", [Route("GET", "/hello", greet, keyless=True, body="")])
    monkeypatch.setattr(table, "APIS", (*table.APIS, lambda service: added))
    async with asking() as http:
        assert json.loads((await http.get("/hello")).body) == {"hello": True}
        assert http.counted("other", 200) == 1
