"""Whether the versions of a client and a server fit."""

from __future__ import annotations

import pytest

from altclip.version import mismatch


@pytest.mark.parametrize(
    ("server", "client"),
    [("0.2.0", "0.2.0"), ("0.2.7", "0.2.0"), ("1.0.0", "1.9.3"), ("1.4.0rc1", "1.0.0"), ("0.2", "0.2.1")],
)
def test_versions_fit_where_semantic_versioning_promises_it(server: str, client: str) -> None:
    assert mismatch(server, client) == ""


@pytest.mark.parametrize(
    ("server", "client"), [("0.3.0", "0.2.0"), ("0.2.0", "0.3.0"), ("1.0.0", "0.9.0"), ("2.0.0", "1.0.0")]
)
def test_other_versions_are_both_named(server: str, client: str) -> None:
    problem = mismatch(server, client)
    assert server in problem
    assert client in problem


def test_a_server_that_tells_no_version_is_said_to_be_older() -> None:
    assert "older than 0.2" in mismatch("", "0.2.0")
