"""The addresses of a list, and those of a DNS name, share the calls; none is lost with a server."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import altclip
from altclip import Client
from altclip.channel import address_of
from tests.altclip.calls.name_server import NameServer
from tests.altclip.fake_service import RunningFake, start_fake
from tests.certificates import make_pair
from tests.server import free_port, until

ROUNDS = 10


@pytest.fixture
def fakes() -> Iterator[list[RunningFake]]:
    """Three servers on loopback addresses of their own, and on one port."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        running = [start_fake(f"127.0.0.{number}:{port}") for number in (1, 2, 3)]
        for each in running:
            stack.callback(each.stop)
        yield running


def port_of(fake: RunningFake) -> str:
    return fake.address.partition(":")[2]


def counts(fakes: list[RunningFake]) -> list[int]:
    return [len(fake.service.seen["EmbedText"]) for fake in fakes]


def assert_shared(client: Client, fakes: list[RunningFake]) -> None:
    """Once the client is connected with all of them, each gets its part of the calls, give or take a few.

    Where a connection or a name changes meanwhile, gRPC begins its round anew.
    """

    def all_seen() -> bool:
        client.embed_text("warming up")
        return all(counts(fakes))

    until(all_seen, seconds=60, what="every server has been called")
    before = counts(fakes)
    for _ in range(ROUNDS * len(fakes)):
        client.embed_text("a")
    after = counts(fakes)
    got = [now - then for now, then in zip(after, before, strict=True)]
    assert sum(got) >= ROUNDS * len(fakes)
    assert min(got) > ROUNDS / 2, got


def test_the_addresses_of_a_list_share_the_calls(make_client: Any, fakes: list[RunningFake]) -> None:
    addresses = [f"127.0.0.{number}:{port_of(fakes[0])}" for number in (1, 2, 3)]
    assert_shared(make_client(addresses, timeout=60), fakes)


def test_a_dead_server_of_a_list_costs_no_call(make_client: Any, fakes: list[RunningFake]) -> None:
    client = make_client([f"127.0.0.{number}:{port_of(fakes[0])}" for number in (1, 2, 3)], timeout=60)
    assert_shared(client, fakes)
    fakes[1].stop()
    for _ in range(30):
        client.embed_text("a")
    assert_shared(client, [fakes[0], fakes[2]])


def test_the_addresses_of_a_dns_name_share_the_calls(make_client: Any, fakes: list[RunningFake]) -> None:
    with NameServer("127.0.0.1", "127.0.0.2", "127.0.0.3") as names:
        target = f"dns://127.0.0.1:{names.port}/altclip.test:{port_of(fakes[0])}"
        assert_shared(make_client(target, timeout=60), fakes)


def test_a_server_that_is_replaced_is_found_under_its_new_address(
    make_client: Any, fakes: list[RunningFake]
) -> None:
    with NameServer("127.0.0.1", "127.0.0.2") as names:
        target = f"dns://127.0.0.1:{names.port}/altclip.test:{port_of(fakes[0])}"
        soon = [("grpc.dns_min_time_between_resolutions_ms", 100)]
        client = make_client(target, timeout=60, options=soon)
        assert_shared(client, fakes[:2])
        names.addresses = ("127.0.0.2", "127.0.0.3")
        fakes[0].stop()
        assert_shared(client, fakes[1:])


def test_every_call_goes_to_one_server(fakes: list[RunningFake]) -> None:
    texts = [f"text {number}" for number in range(60)]
    with Client([f"127.0.0.{number}:{port_of(fakes[0])}" for number in (1, 2, 3)]) as client:
        for text in texts:
            client.embed_text(text)
    seen = Counter(request.texts[0] for fake in fakes for request in fake.service.seen["EmbedText"])
    assert seen == Counter(texts)


def test_over_tls_a_list_is_checked_by_the_name_that_is_given(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "altclip.test")
    credentials = grpc.ssl_server_credentials([(pair.key, pair.chain)])
    with contextlib.ExitStack() as stack:
        fakes = [start_fake(credentials=credentials) for _ in range(2)]
        for fake in fakes:
            stack.callback(fake.stop)
        addresses = [fake.address for fake in fakes]
        named = [("grpc.default_authority", "localhost")]
        with Client(addresses, root_certificates=pair.chain, options=named, timeout=60) as client:
            assert_shared(client, fakes)
        with (
            Client(addresses, root_certificates=pair.chain, timeout=60) as client,
            pytest.raises(altclip.Unavailable),
        ):
            client.embed_text("a")


@pytest.mark.parametrize(
    ("given", "target"),
    [
        (["10.0.0.7:50051"], "ipv4:10.0.0.7:50051"),
        ([" 10.0.0.7:50051", "10.0.0.8:50052 "], "ipv4:10.0.0.7:50051,10.0.0.8:50052"),
        (("[::1]:50051", "[fd00::7]:50051"), "ipv6:[::1]:50051,[fd00::7]:50051"),
        ("ipv4:10.0.0.7:1,10.0.0.8:2", "ipv4:10.0.0.7:1,10.0.0.8:2"),
        ("dns:///altclip.default.svc:50051", "dns:///altclip.default.svc:50051"),
        ("unix:/run/altclip,1.sock", "unix:/run/altclip,1.sock"),
    ],
)
def test_an_address_becomes_a_target_of_grpc(given: Any, target: str) -> None:
    assert address_of(given) == target


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "address: the list has no address"),
        (
            ["10.0.0.7:50051", "altclip:50051"],
            r"address\[1\]: a list holds IP .* not 'altclip:50051'",
        ),
        (["10.0.0.7"], r"address\[0\]: a list holds IP addresses with their port"),
        (["10.0.0.7:port"], r"address\[0\]: a list"),
        ([None], r"address\[0\]: .* not None"),
        (["10.0.0.7:1", "[::1]:1"], "address: a list holds IPv4 addresses or IPv6 addresses, not both"),
        ("10.0.0.7:50051,10.0.0.8:50051", "address: several addresses are a list"),
        ("first:50051,second:50051", "address: several addresses are a list"),
        ("first,second", "address: several addresses are a list"),
    ],
)
def test_an_address_that_grpc_would_misread_is_refused(given: Any, what: str) -> None:
    with pytest.raises(altclip.InvalidArgument, match=what):
        Client(given)
