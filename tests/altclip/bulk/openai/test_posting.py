"""How requests are posted: whole answers only, and with the key and the certificates that were given."""

from __future__ import annotations

import errno
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from altclip.bulk.openai.posting import Gateway
from altclip.bulk.openai.requests import BatchRequest
from altclip.datasets.items import DataError
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.openai.http_service import Service
from tests.altclip.bulk.outputs import json_lines
from tests.certificates import make_pair

KEY = "ALTCLIP_API_KEY"


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    made = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {"input": str(n)}}
        for n in range(5)
    ]
    return json_lines(tmp_path / "in.jsonl", made)


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of a client, and its key."""
    (tmp_path / "own").mkdir()
    return make_pair(tmp_path, "client").put(tmp_path / "own")


@pytest.fixture
def strict(tmp_path: Path, certificates: tuple[Path, Path]) -> Iterator[tuple[Service, Path]]:
    """A service that answers only who shows this certificate, and the authority that it is known by."""
    (tmp_path / "its").mkdir()
    chain, key = make_pair(tmp_path, "server").put(tmp_path / "its")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates[0])
    tls.load_cert_chain(chain, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    made = Service(tls)
    yield made, chain
    made.close()


def test_an_answer_that_was_cut_off_in_transit_is_asked_for_again(
    bulk: Run, service: Service, requests: Path, tmp_path: Path
) -> None:
    service.cut_off = {"3"}
    ran = bulk("openai", requests, tmp_path / "out", "--http", service.url)
    assert (ran.status, ran.last["embedded"]) == (0, 5)
    assert "IncompleteRead" in ran.told
    assert sorted(service.asked) == ["0", "1", "2", "3", "3", "4"]
    answers = [json.loads(line) for line in (tmp_path / "out" / "output.jsonl").read_text().splitlines()]
    assert [each["response"]["body"]["data"] for each in answers] == [[{"embedding": [1.0]}]] * 5


def test_a_connection_that_the_server_closed_meanwhile_is_no_trouble(service: Service) -> None:
    service.closes = True
    told: list[str] = []
    gateway = Gateway(service.url, tell=told.append)
    requests = [BatchRequest(str(n), "/v1/embeddings", {"input": str(n)}) for n in range(40)]
    assert [answer.status for answer in gateway.answers(requests)] == [200] * 40
    assert told == []


def test_patience_may_have_no_end(bulk: Run, service: Service, requests: Path, tmp_path: Path) -> None:
    ran = bulk("openai", requests, tmp_path / "out", "--http", service.url, "--patience", "inf")
    assert (ran.status, ran.last["embedded"]) == (0, 5)


def test_a_server_that_asks_for_a_certificate_is_shown_it(
    bulk: Run, strict: tuple[Service, Path], certificates: tuple[Path, Path], requests: Path, tmp_path: Path
) -> None:
    service, authority = strict
    arguments = ("openai", requests, tmp_path / "out", "--http", service.url, "--patience", "0")
    trusted = ("--root-certificates", authority)
    for given in ((), trusted):
        assert bulk(*arguments, *given).status == 3
    assert service.asked == []
    chain, key = certificates
    ran = bulk(*arguments, *trusted, "--certificate", chain, "--key", key)
    assert (ran.status, ran.last["embedded"]) == (0, 5)


def test_certificates_that_cannot_be_used_are_named(
    bulk: Run, certificates: tuple[Path, Path], requests: Path, tmp_path: Path
) -> None:
    chain, key = certificates
    away = ("openai", requests, tmp_path / "out", "--http", "https://127.0.0.1:1")
    for arguments, told in (
        ((*away, "--certificate", chain), "--certificate and --key are needed together"),
        (
            (*away, "--certificate", chain, "--key", requests),
            f"--certificate and --key: {chain} and {requests}",
        ),
        ((*away, "--certificate", chain, "--key", tmp_path / "none.pem"), "none.pem"),
        ((*away, "--root-certificates", requests), f"--root-certificates: {requests} has no PEM certificate"),
        ((*away, "--root-certificates", tmp_path / "none.pem"), "none.pem"),
        ((*away[:-1], "http://127.0.0.1:1", "--certificate", chain, "--key", key), "begins with https://"),
    ):
        ran = bulk(*arguments)
        assert ran.status == 2
        assert told in ran.told
    assert not (tmp_path / "out").exists()


def test_the_address_has_no_characters_that_http_cannot_send(
    bulk: Run, requests: Path, tmp_path: Path
) -> None:
    for path in ("a b", "größe"):
        ran = bulk("openai", requests, tmp_path / "out", "--http", f"http://127.0.0.1:1/{path}")
        assert ran.status == 2
        assert "--http must have spaces and other characters escaped" in ran.told


@pytest.mark.parametrize(
    "address",
    [
        "http://local host:8080",
        "http://local\x7fhost",
        "http://[::1",
        "http://a..b",
        f"http://{'a' * 64}.example",
        "http://localhost:99999",
        "http://:8080",
        "localhost:8080",
        "ftp://localhost",
    ],
)
def test_an_address_with_a_host_that_cannot_be_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(DataError, match="--http must be an address such as http://localhost:8080, not"):
        Gateway(address)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://[::1]", "::1", 80),
        ("https://[fe80::abcd]", "fe80::abcd", 443),
        ("http://[::1]:8080/clip", "::1", 8080),
        ("http://localhost", "localhost", 80),
        ("https://bücher.example", "bücher.example", 443),
    ],
)
def test_an_address_without_a_port_means_its_schemes(address: str, host: str, port: int) -> None:
    connection = Gateway(address)._connection()
    assert (connection.host, connection.port) == (host, port)


def test_the_run_ends_where_no_connection_can_be_made(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the system's certificates cannot be read: every thread that posts meets it."""
    monkeypatch.setattr(Gateway, "_connection", _without_files)
    with pytest.raises(OSError, match="Too many open files"):
        list(Gateway(service.url).answers([BatchRequest("a", "/v1/embeddings", {"input": "a"})]))


def _without_files(gateway: Gateway) -> NoReturn:
    raise OSError(errno.EMFILE, "Too many open files")


def test_the_key_is_sent_without_the_space_around_it_and_never_shown(
    bulk: Run, service: Service, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("openai", requests, tmp_path / "out", "--http", service.url)
    monkeypatch.setenv(KEY, "sesame\nopen")
    ran = bulk(*arguments)
    assert ran.status == 2
    assert "a line break" in ran.told
    assert "sesame" not in ran.told
    monkeypatch.setenv(KEY, " sesame\n")
    assert bulk(*arguments).status == 0
    assert set(service.keys) == {"Bearer sesame"}
