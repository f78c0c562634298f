"""Certificates: what belongs together is taken, all else is refused in words that show nothing of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.certificates import Certificate
from tests.certificates import Pair, make_pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "one")


def test_a_pair_is_read_and_travels(pair: Pair) -> None:
    found = Certificate.read([pair.chain, pair.key, pair.chain])
    assert Certificate.from_bytes(found.to_bytes()) == found
    assert found.clients == pair.chain.decode()
    assert Certificate.read([pair.chain, pair.key]).clients == ""


def test_it_tells_when_it_expires(pair: Pair) -> None:
    day = 86_400
    expires = Certificate.read([pair.chain, pair.key]).expires()
    assert time.time() + 0.9 * day < expires < time.time() + 1.1 * day
    assert Certificate(pair.chain.decode(), "").expires() == 0.0


def test_what_does_not_belong_together_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = make_pair(tmp_path, "two")
    with pytest.raises(ValueError, match="not of one pair"):
        Certificate.read([pair.chain, other.key])


def test_damage_is_refused_and_not_shown(pair: Pair) -> None:
    half = pair.key[: len(pair.key) // 2]
    for parts in (
        [pair.chain, half],
        [pair.chain, b""],
        [b"", pair.key],
        [pair.key, pair.chain],
        [b"\xff", b"x"],
    ):
        with pytest.raises(ValueError, match=r"PEM") as refused:
            Certificate.read(parts)
        assert "BEGIN" not in str(refused.value)


@pytest.mark.parametrize("authorities", [b"no certificate", b"", b"\n", "§\n".encode()])
def test_authorities_that_are_none_are_refused_and_never_let_every_client_in(
    pair: Pair, authorities: bytes
) -> None:
    with pytest.raises(ValueError, match="authorities"):
        Certificate.read([pair.chain, pair.key, authorities])


def test_comments_may_be_in_any_encoding(pair: Pair) -> None:
    plain = Certificate.read([pair.chain, pair.key, pair.chain])
    bundle = "\ufeff# Főtanúsítvány\n".encode() + pair.chain + "# Zürich\n".encode("latin-1")
    found = Certificate.read([bundle, pair.key, bundle])
    assert found.expires() == plain.expires()
    accepted = found.server_context().get_ca_certs()
    assert accepted == plain.server_context().get_ca_certs() != []


def test_an_encrypted_key_is_refused_without_a_question_on_the_terminal(pair: Pair, tmp_path: Path) -> None:
    plain, locked = tmp_path / "plain.pem", tmp_path / "locked.pem"
    plain.write_bytes(pair.key)
    command = ["openssl", "ec", "-in", str(plain), "-aes256", "-passout", "pass:word", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ValueError, match="encrypted"):
        Certificate.read([pair.chain, locked.read_bytes()])


@given(st.lists(st.binary(max_size=64), min_size=2, max_size=3), st.booleans())
def test_any_bytes_are_refused_and_nothing_else_happens(parts: list[bytes], begins: bool) -> None:
    if begins:
        parts = [b"-----BEGIN CERTIFICATE-----\n" + part + b"\n-----END CERTIFICATE-----\n" for part in parts]
    with pytest.raises(ValueError, match="PEM"):
        Certificate.read(parts)
