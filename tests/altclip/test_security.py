"""Encrypted connections of both clients, and what is kept out of sight."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

import altclip
from altclip.channel import Endpoint
from altclip.v1 import embedding_service_pb2_grpc
from tests.altclip.fake_service import FakeService


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback address, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subject = ("-subj", "/CN=altclip", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    files = ("-keyout", str(key), "-out", str(chain))
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "1", *files, *subject]
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


@pytest.fixture
def address(certificate: tuple[Path, Path]) -> Iterator[str]:
    chain, key = certificate
    server = grpc.server(futures.ThreadPoolExecutor(4))
    embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(FakeService(), server)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_server_is_checked_against_the_given_roots(
    address: str, certificate: tuple[Path, Path], make_client: Any
) -> None:
    chain, _ = certificate
    assert len(make_client(address, root_certificates=chain, api_key="secret").embed_text("a")) == 1
    assert len(make_client(address, root_certificates=chain.read_bytes()).embed_text("a")) == 1
    own = grpc.ssl_channel_credentials(chain.read_bytes())
    assert len(make_client(address, credentials=own).embed_text("a")) == 1


def test_a_server_that_nobody_vouches_for_gets_nothing(address: str, make_client: Any) -> None:
    with pytest.raises((altclip.Unavailable, altclip.DeadlineExceeded)):
        make_client(address, tls=True, timeout=5).embed_text("a")


def test_the_key_is_not_shown(make_client: Any) -> None:
    assert "secret" not in repr(Endpoint("localhost:1", api_key="secret"))
