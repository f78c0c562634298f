"""Host names, origins of web pages, and the prefix of a proxy."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.http.asking import KEY, Asking, asking, keyed


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


@pytest.mark.parametrize(
    ("line", "hosts", "status"),
    [
        (b"GET /healthz", (), 200),
        (b"GET /v1/models", (), 200),
        (b"GET /healthz", ("altclip",), 200),
        (b"HEAD /healthz", ("altclip",), 200),
        (b"GET /v1/models", ("altclip",), 421),
        (b"POST /", ("altclip",), 421),  # of the same path, GET needs no key
        (b"GET /nothing", ("altclip",), 421),
    ],
)
async def test_a_probe_in_http_1_0_may_lack_a_host(line: bytes, hosts: tuple[str, ...], status: int) -> None:
    async with asking(http_hosts=hosts) as http:
        assert (await http.raw(line + b" HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 %d " % status)


async def test_http_1_0_has_no_two_hosts(http: Asking) -> None:
    got = await http.raw(b"GET /healthz HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n")
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


async def test_the_prefix_alone_leads_to_the_page() -> None:
    async with asking(http_prefix="/altclip") as http:
        answer = await http.get("/altclip")  # follows
        assert answer.headers["content-type"].startswith("text/html")
        assert (http.counted("other", 308), http.counted("/", 200)) == (1, 1)


@pytest.mark.parametrize(("keys", "lines"), [(False, 1), (True, 0)])
async def test_the_log_warns_once_of_a_name_that_may_be_rebound(
    keys: bool, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = keyed(http_address="0.0.0.0:0") if keys else asking(http_address="0.0.0.0:0")
    async with made as http:
        port = http.service.http.rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        for name in ("127.0.0.1", "localhost", "example.com", "example.com", "other.example.com"):
            writer.write(f"GET /healthz HTTP/1.1\r\nhost: {name}:{port}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(len(b'{"alive":true}'))
        writer.close()
    warned = [record for record in caplog.records if getattr(record, "event", "") == "unknown_host"]
    assert len(warned) == lines
