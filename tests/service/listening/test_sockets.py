"""Addresses as the ports have them."""

from __future__ import annotations

import pytest

from service.listening import sockets


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1:0", True),
        ("127.1.2.3:0", True),
        ("localhost:0", True),
        ("0.0.0.0:0", False),
        ("[::]:0", False),
    ],
)
def test_an_address_that_was_bound_tells_whether_others_reach_it(address: str, only_here: bool) -> None:
    bound, name = sockets.bind(address)
    bound.close()
    assert sockets.is_loopback(name) is only_here


@pytest.mark.parametrize(
    ("address", "only_here"), [("[::1]:80", True), ("[fe80::1%eth0]:80", False), ("10.0.0.1:80", False)]
)
def test_so_does_every_other_address(address: str, only_here: bool) -> None:
    assert sockets.is_loopback(address) is only_here
