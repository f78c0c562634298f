"""The ports of gRPC and HTTP are one server's alone, and all its frontends'."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from service.config.options import OptionError
from service.config.readers import split_address
from service.listening import sockets
from service.supervisor import ports


@pytest.fixture
def reserved() -> Iterator[str]:
    holder, address = ports.reserve("127.0.0.1:0", "grpc-address")
    yield address
    holder.close()


def listen(address: str) -> socket.socket:
    """As a frontend does."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(split_address(address))
    listener.listen()
    return listener


def test_port_0_becomes_a_port(reserved: str) -> None:
    assert split_address(reserved)[1] > 0


def test_several_frontends_listen_and_the_reservation_takes_no_connection(reserved: str) -> None:
    with listen(reserved) as one, listen(reserved) as other:
        accepted = 0
        for listener in (one, other):
            listener.setblocking(False)
        clients = [socket.create_connection(split_address(reserved)) for _ in range(32)]
        for listener in (one, other):
            while True:
                try:
                    listener.accept()[0].close()
                    accepted += 1
                except BlockingIOError:
                    break
        assert accepted == 32
        for client in clients:
            client.close()


def test_a_second_server_is_told_that_the_port_is_taken(reserved: str) -> None:
    with pytest.raises(
        OptionError, match=rf"--grpc-address \(ALTCLIP_GRPC_ADDRESS\): cannot listen on {reserved}"
    ):
        ports.reserve(reserved, "grpc-address")


def test_also_while_frontends_listen(reserved: str) -> None:
    with listen(reserved), pytest.raises(OptionError, match="cannot listen"):
        ports.reserve(reserved, "grpc-address")


def test_a_stranger_cannot_share_it_by_address_reuse(reserved: str) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            stranger.bind(split_address(reserved))


def test_ipv6_has_brackets() -> None:
    try:
        holder, address = ports.reserve("[::1]:0", "grpc-address")
    except OptionError:
        pytest.skip("no IPv6 here")
    assert address.startswith("[::1]:")
    holder.close()


@pytest.mark.parametrize(
    "address", ["192.0.2.1:0", "no-such-host.invalid:0", "two..dots:0", f"{'long' * 16}:0"]
)
def test_an_address_of_another_machine_is_refused(address: str) -> None:
    with pytest.raises(OptionError, match=address):
        ports.reserve(address, "grpc-address")


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=60).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_wildcard_is_every_ipv4_and_ipv6_address(host: str) -> None:
    holder, address = ports.reserve(f"{host}:0", "http-address")
    with holder, sockets.bind(address, shared=True)[0] as listener:
        assert address.startswith(f"{host}:")
        listener.listen()
        port = split_address(address)[1]
        assert reaches("127.0.0.1", port)
        assert reaches("::1", port) == socket.has_dualstack_ipv6()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
@pytest.mark.parametrize("taken", ["127.0.0.1", "0.0.0.0"])
def test_a_wildcard_is_refused_where_one_of_its_addresses_is_taken(host: str, taken: str) -> None:
    with socket.socket() as stranger:
        stranger.bind((taken, 0))
        stranger.listen()
        with pytest.raises(OptionError, match="cannot listen"):
            ports.reserve(f"{host}:{stranger.getsockname()[1]}", "http-address")


def test_an_address_is_that_address_alone() -> None:
    holder, address = ports.reserve("127.0.0.1:0", "http-address")
    with holder, sockets.bind(address, shared=True)[0] as listener:
        listener.listen()
        assert not reaches("127.0.0.2", split_address(address)[1])
        assert not reaches("::1", split_address(address)[1])
