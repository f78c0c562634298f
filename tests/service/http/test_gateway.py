"""What is the same for every route: keys, host names, bodies, deadlines, errors, metrics, the drain."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.frontend.http.routes import Routes
from tests.service.http.asking import Asking, asking
from tests.service.running import eventually
from worker.runtime.metric_labels import HTTP_ROUTES

SECRET = "the-secret-of-search"
KEY = {"authorization": f"Bearer {SECRET}"}


@asynccontextmanager
async def keyed(*limits: str, models: Iterable[str] = ("m",), **settings: Any) -> AsyncIterator[Asking]:
    """A server with one caller, `search`."""
    files = {API_KEYS: line_of("search", SECRET, limits).encode()}
    async with asking(*models, api_keys="/keys", files=files, callers=["search"], **settings) as http:
        yield http


def calls(http: Asking, caller: str, code: str) -> float:
    return http.service.metrics.caller_requests.value(caller, code)


def request(body: bytes, *headers: str, path: str = "/v1/embeddings") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


@pytest.mark.parametrize(
    "headers",
    [
        KEY,
        {"Authorization": f"bearer  {SECRET} "},
        {"x-api-key": SECRET},
        {"api-key": SECRET},
        {**KEY, "x-api-key": SECRET, "api-key": SECRET},
    ],
)
async def test_a_key_opens_and_its_name_is_counted(headers: dict[str, str]) -> None:
    async with keyed() as http:
        assert (await http.post("/v1/embeddings", {"input": "a"}, headers=headers)).status == 200
        assert calls(http, "search", "OK") == 1
        assert http.service.requests("EmbedText", "OK") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": SECRET},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {**KEY, "x-api-key": "wrong"},
        {"authorization": "Bearer wrong", "x-api-key": SECRET},
    ],
)
async def test_a_stranger_is_refused(headers: dict[str, str]) -> None:
    async with keyed() as http:
        answer = await http.post("/v1/embeddings", {"input": "a"}, headers=headers)
        assert (answer.status, answer.error["code"]) == (401, "unauthenticated")
        assert answer.error["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert calls(http, "anonymous", "UNAUTHENTICATED") == 1
        assert http.counted("/v1/embeddings", 401) == 1


async def test_two_keys_that_differ_are_refused_and_one_sent_twice_is_not() -> None:
    async with keyed() as http:
        for second, status in (("wrong", 401), (SECRET, 200)):
            headers = [("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {second}")]
            answer = await http.ask("POST", "/v1/embeddings", json={"input": "a"}, headers=headers)
            assert answer.status == status


async def test_nothing_of_a_strangers_body_is_read_or_checked() -> None:
    async with keyed() as http:
        for body in (b"{", b'{"input": 1}', b"x" * 100_000):
            answer = await http.post("/v1/embeddings", body)
            assert answer.status == 401
        # Its length is announced, and it never comes.
        sent = request(b"")[: -len(b"content-length: 0\r\n\r\n")] + b"content-length: 60000000\r\n\r\n"
        host, _, port = http.service.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/ping"])
async def test_probes_need_no_key(path: str) -> None:
    async with keyed() as http:
        assert (await http.get(path)).status == 200
        assert calls(http, "anonymous", "OK") == 0


async def test_a_key_sees_and_uses_its_own_models_only() -> None:
    async with keyed("models=second", models=("first", "second")) as http:
        listed = (await http.get("/v1/models", headers=KEY)).json
        assert [each["id"] for each in listed["data"]] == ["second"]
        body = {"input": "a", "model": "first"}
        answer = await http.post("/v1/embeddings", body, headers=KEY)
        assert (answer.status, answer.error["type"]) == (403, "permission_error")
        assert (await http.get("/v1/models/first", headers=KEY)).status == 403


async def test_a_quota_that_is_used_up_says_when_to_come_again() -> None:
    async with keyed("items=1/m") as http:
        await http.post("/v1/embeddings", {"input": ["a"] * 5}, headers=KEY)
        answer = await http.post("/v1/embeddings", {"input": "a"}, headers=KEY)
        assert (answer.status, answer.error["code"]) == (429, "quota_exceeded")
        assert answer.error["type"] == "rate_limit_error"
        milliseconds = int(answer.headers["retry-after-ms"])
        assert 0 < milliseconds <= int(answer.headers["retry-after"]) * 1000


async def test_unknown_routes_and_methods_are_told_apart(http: Asking) -> None:
    for path in ("/v1/embedding", "/v1/embeddings/", "/v1/models/", "//"):
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
    sent = request(body, "connection: close").replace(b"content-type: application/json\r\n", b"")
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
        refused = await http.raw(request(body, "expect: 100-continue")[: -len(body)])
        assert refused.startswith(b"HTTP/1.1 401 ")
        allowed = request(body, "expect: 100-continue", f"x-api-key: {SECRET}", "connection: close")
        assert (await http.raw(allowed)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"timeout": 0.001}, {}),
        ({}, {"x-request-timeout-ms": "1"}),
        ({"timeout": 100}, {"x-request-timeout-ms": "1"}),
    ],
)
async def test_a_deadline_that_passes_ends_the_request(
    http: Asking, body: dict[str, Any], headers: dict[str, str]
) -> None:
    http.service.pool.hold = asyncio.Event()
    answer = await http.post("/v1/embeddings", {"input": "a", **body}, headers=headers)
    assert (answer.status, answer.error["code"]) == (504, "deadline_too_short")
    assert answer.headers["x-should-retry"] == "false"
    await eventually(lambda: len(http.service.pool.cancelled) == 1)
    http.service.pool.hold.set()


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
    assert calls(http, "anonymous", "CANCELLED") == 1
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


@pytest.mark.parametrize(
    ("host", "hosts", "status"),
    [
        ("altclip.example.com", (), 200),
        ("altclip.example.com", ("altclip.example.com",), 200),
        ("ALTCLIP.example.com:8080", ("altclip.example.com",), 200),
        ("a.b.example.com", ("*.example.com",), 200),
        ("example.com", ("*.example.com",), 421),
        ("evilexample.com", ("*.example.com",), 421),
        ("other.example.com", ("altclip.example.com",), 421),
        ("127.0.0.1:8080", ("altclip",), 200),
        ("[::1]:8080", ("altclip",), 200),
        ("localhost", ("altclip",), 200),
        ("1.example.com", ("altclip",), 421),
        ("", ("altclip",), 421),
    ],
)
async def test_only_named_hosts_are_answered(host: str, hosts: tuple[str, ...], status: int) -> None:
    async with asking(http_hosts=hosts) as http:
        answer = await http.get("/healthz", headers={"host": host})
        assert answer.status == status


async def test_a_request_has_exactly_one_host(http: Asking) -> None:
    for lines in (b"", b"host: a\r\nhost: b\r\n"):
        got = await http.raw(b"GET /healthz HTTP/1.1\r\n" + lines + b"connection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400 ")


async def test_pages_of_other_origins_may_read_nothing_by_default(http: Asking) -> None:
    asks = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    preflight = await http.ask("OPTIONS", "/v1/embeddings", headers=asks)
    assert preflight.status == 405
    answer = await http.post("/v1/embeddings", {"input": "a"}, headers={"origin": "https://app.example.com"})
    assert not [name for each in (preflight, answer) for name in each.headers if "access-control" in name]


@pytest.mark.parametrize("origins", [("https://app.example.com",), ("*",)])
async def test_pages_of_named_origins_may(origins: tuple[str, ...]) -> None:
    async with keyed(http_cors_origins=origins) as http:
        origin = {"origin": "https://app.example.com"}
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-stainless-os"}
        preflight = await http.ask("OPTIONS", "/v1/embeddings", headers=origin | asks)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-headers"] == "x-stainless-os"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        for headers, status in ((origin | KEY, 200), (origin, 401)):
            answer = await http.post("/v1/embeddings", {"input": "a"}, headers=headers)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
            assert answer.headers["vary"] == "origin"
    async with asking(http_cors_origins=("https://other.example.com",)) as http:
        answer = await http.get("/healthz", headers=origin)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/models", "/altclip/v1/models"])
async def test_a_prefix_may_be_there_or_taken_away_by_the_proxy(path: str) -> None:
    async with asking(http_prefix="/altclip") as http:
        assert (await http.get(path)).status == 200
        assert http.counted("/v1/models", 200) == 1
        assert (await http.get("/altclipper/v1/models")).status == 404


async def test_a_drain_answers_what_was_admitted_and_refuses_the_rest(http: Asking) -> None:
    hold = http.service.pool.hold = asyncio.Event()
    admitted = asyncio.create_task(http.embed(input="a"))
    await eventually(lambda: http.service.pool.deadlines)
    draining = asyncio.create_task(http.service.server.drain(10.0))
    await eventually(lambda: http.service.server.core.gate._closed)
    ready = await http.get("/readyz")
    assert (ready.status, ready.json["ready"], ready.headers["connection"]) == (503, False, "close")
    refused = await http.embed(input="b")
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
    hold.set()
    answer = await admitted
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    started = time.monotonic()
    assert await draining == 0
    assert time.monotonic() - started < 5


async def test_every_route_stands_in_the_table_of_the_metrics(http: Asking) -> None:
    from service.frontend.http.apis.table import APIS
    from service.frontend.http.service import Service

    service = Service(http.service.server.core, 0.0)
    routes = Routes([api(service) for api in APIS])
    served = {route.path for api in routes.apis for route in api.routes}
    assert served <= set(HTTP_ROUTES)
