"""TLS over HTTP: the certificate of gRPC, mutual TLS, and a new certificate for new connections."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.config.certificates import Certificate
from service.config.operator_files import TLS
from tests.certificates import Pair, make_pair
from tests.service.http.asking import Asking, answered, connected, connections
from tests.service.running import eventually, running

BODY = {"input": "a"}


def certificate(pair: Pair, clients: str = "") -> bytes:
    return Certificate(pair.chain.decode(), pair.key.decode(), clients).to_bytes()


def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pair.chain.decode())


@asynccontextmanager
async def encrypted(
    pair: Pair, files: dict[str, bytes], context: ssl.SSLContext | None = None
) -> AsyncIterator[Asking]:
    settings: dict[str, Any] = {"tls_certificate": "/chain", "tls_key": "/key", "http_address": "127.0.0.1:0"}
    async with running(files=files, **settings) as service:
        connector = aiohttp.TCPConnector(ssl=context or trusting(pair))
        async with aiohttp.ClientSession(f"https://{service.http}", connector=connector) as session:
            yield Asking(service, session)


async def test_http_is_encrypted_where_grpc_is(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "one")
    async with encrypted(pair, {TLS: certificate(pair)}) as http:
        assert (await http.embed(**BODY)).status == 200
        got = b""
        with contextlib.suppress(ConnectionError):
            got = await http.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"HTTP" not in got


async def test_what_is_no_http_is_answered_there_too(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "one")
    async with encrypted(pair, {TLS: certificate(pair)}) as http:
        async with connected(http, ssl=trusting(pair)) as (reader, writer):
            writer.write(b"CONNECT a:80 HTTP/1.1\r\n\r\n")
            assert (await answered(reader))[0] == 400
            assert await reader.read() == b""
        await eventually(lambda: not connections(http))


async def test_a_new_certificate_is_that_of_new_connections(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path, "one"), make_pair(tmp_path, "two")
    files = {TLS: certificate(one)}
    async with encrypted(one, files) as http:
        assert (await http.embed(**BODY)).status == 200
        files[TLS] = certificate(two)
        http.service.server.file_changed(TLS)
        assert (await http.embed(**BODY)).status == 200  # on the connection that is open
        connector = aiohttp.TCPConnector(ssl=trusting(two))
        async with aiohttp.ClientSession(f"https://{http.service.http}", connector=connector) as session:
            assert (await Asking(http.service, session).embed(**BODY)).status == 200


async def test_with_a_clients_authority_a_client_needs_a_certificate(tmp_path: Path) -> None:
    pair, client = make_pair(tmp_path, "one"), make_pair(tmp_path, "client")
    files = {TLS: certificate(pair, client.chain.decode())}
    known = trusting(pair)
    known.load_cert_chain(*client.put(tmp_path))
    async with encrypted(pair, files, known) as http:
        assert (await http.embed(**BODY)).status == 200
    async with encrypted(pair, files) as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get("/healthz")
