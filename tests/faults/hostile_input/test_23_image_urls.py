"""Image addresses that reach for inside: no connection is begun. Real sockets, on loopback only."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.preprocessing.addresses import NotAllowed, is_public
from service.frontend.preprocessing.dialling import Guard
from tests.certificates import make_pair
from tests.faults.harness import open_stub, service
from tests.faults.hostile_input.internet import PICTURE, Names, connects, internet
from tests.faults.http_calls import ask
from tests.service.running import running

__all__ = ["connects"]  # the fixture


async def test_23_addresses_are_off_by_default(connects: list[str]) -> None:
    async with running() as served:
        request = pb.EmbedImageRequest(images=[pb.Image(uri="http://pictures.example/cat.png")])
        refused = await served.refusal("EmbedImage", request)
        assert (refused.reason, refused.info.metadata["host"]) == ("URI_NOT_ALLOWED", "pictures.example")
    assert connects == []


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "100.64.0.1",
        "100.100.100.200",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[fd00:ec2::254]",
        "[fe80::1%25lo]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.254.169.254.",
        "localhost",
        "user@169.254.169.254",
        "pictures.example@169.254.169.254",
    ],
)
async def test_23_an_inside_address_in_any_spelling_is_not_dialled(host: str, connects: list[str]) -> None:
    async with internet() as web:
        refused = await web.refusal(web.uri(host=host))
        assert refused.reason == "URI_NOT_ALLOWED"
        assert dict(refused.info.metadata) == {}
        assert web.names.lookups == []
        assert web.fetches("refused") == 1
    assert connects == []


@pytest.mark.parametrize(
    "answer", ["169.254.169.254", "::ffff:10.0.0.1", "127.0.0.1 10.0.0.1", "8.8.8.8 fd00::1", "::1", ""]
)
async def test_23_a_name_that_leads_inside_is_not_dialled(answer: str, connects: list[str]) -> None:
    """Nor is it when only one of its addresses is inside; and one that does not exist looks the same."""
    async with internet(Names(evil_example=[answer])) as web:
        refused = await web.refusal(web.uri(host="evil.example"))
        assert refused.reason == "URI_NOT_ALLOWED"
        assert refused.message == "images[0].uri: its host has no public address"
        assert dict(refused.info.metadata) == {"host": "evil.example"}
    assert connects == []


async def test_23_a_name_that_changes_its_mind_is_dialled_where_it_was_checked(connects: list[str]) -> None:
    """DNS rebinding: every look-up but the first leads inside."""
    async with internet(Names(rebinding_example=["127.0.0.1", "169.254.169.254"])) as web:
        web.origin.page("/cat.png", PICTURE, "Connection: close")
        await web.embed(web.uri(host="rebinding.example"))
        assert web.names.lookups == ["rebinding.example"]
        refused = await web.refusal(web.uri(host="rebinding.example"))
        assert refused.reason == "URI_NOT_ALLOWED"
    assert connects == ["127.0.0.1"]


async def test_23_no_socket_is_made_for_an_address_that_slipped_through() -> None:
    """Whatever the client library does with names, this is the last thing it asks."""
    guard = Guard(Names(), is_public)
    for target in (("169.254.169.254", 80), ("::ffff:10.0.0.1", 80, 0, 0), ("127.0.0.1", 443)):
        with pytest.raises(NotAllowed):
            guard.socket((2, 1, 6, "", target))


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "//10.0.0.1/",
        "http://2852039166/",
        "http://inside.example:{port}/",
        "http://pictures.example:6379/",
        "https://pictures.example:{port}/",
        "file:///etc/passwd",
        "ftp://pictures.example/",
    ],
)
async def test_23_a_redirect_is_checked_as_strictly(location: str, connects: list[str]) -> None:
    names = Names(pictures_example=["127.0.0.1"], inside_example=["10.0.0.1"])
    async with internet(names) as web:
        web.origin.redirect("/away", location.format(port=web.origin.port))
        refused = await web.refusal(web.uri("/away"))
        assert refused.reason == "URI_NOT_ALLOWED"
        assert dict(refused.info.metadata) == {"host": "pictures.example"}, "whom the caller asked for"
        for inside in ("169.254", "10.0.0.1", "2852039166", "inside.example"):
            assert inside not in refused.message
    assert connects == ["127.0.0.1"]


async def test_23_a_redirect_that_stays_outside_is_followed_a_few_times(connects: list[str]) -> None:
    async with internet() as web:
        web.origin.redirect("/1", "/2", "301 Moved Permanently")
        web.origin.redirect("/2", web.uri("/3"), "307 Temporary Redirect")
        web.origin.redirect("/3", "cat.png", "308 Permanent Redirect")
        await web.embed(web.uri("/1"))
        web.origin.redirect("/loop", "/loop")
        web.origin.asked.clear()
        refused = await web.refusal(web.uri("/loop"))
        assert refused.reason == "URI_FETCH_FAILED"
        assert web.origin.asked == ["/loop"] * 4
    assert set(connects) == {"127.0.0.1"}


async def test_23_only_the_hosts_on_the_list_are_asked(connects: list[str]) -> None:
    names = Names(pictures_example=["127.0.0.1"], other_example=["127.0.0.1"])
    async with internet(names, hosts=["pictures.example"]) as web:
        await web.embed(web.uri())
        assert (await web.refusal(web.uri(host="other.example"))).reason == "URI_NOT_ALLOWED"
        web.origin.redirect("/away", web.uri(host="other.example"))
        assert (await web.refusal(web.uri("/away"))).reason == "URI_NOT_ALLOWED"
        assert set(names.lookups) == {"pictures.example"}
    assert connects == ["127.0.0.1"] * 2


async def test_23_a_host_must_prove_its_name(tmp_path: Path, connects: list[str]) -> None:
    """Its certificate is checked against the authorities of the machine, and its name."""
    make_pair(tmp_path, "nobody")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "nobody-chain.pem", tmp_path / "nobody-key.pem")
    async with internet(context=context) as web:
        refused = await web.refusal(web.uri().replace("http", "https", 1))
        assert refused.reason == "URI_FETCH_FAILED"
        assert "certificate is not valid" in refused.message
        assert web.origin.asked == []
    assert connects == ["127.0.0.1"]


async def test_23_a_running_service_never_dials_this_machine() -> None:
    """The whole of it, as an operator would switch it on, with a listener on loopback that nobody reaches."""
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append("somebody")
        writer.close()

    listener = await asyncio.start_server(serve, ["127.0.0.1", "::1"], 0)
    ports = sorted({each.getsockname()[1] for each in listener.sockets})
    arguments = [f"--image-urls=http:{port}" for port in ports]
    hosts = [
        "127.0.0.1",
        "localhost",
        "localhost.localdomain",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "0.0.0.0",
    ]

    def call_all() -> list[str]:
        with service("m=stub:dimension=8,image_size=32", *arguments) as server, open_stub(server) as stub:
            said = []
            for port in ports:
                for host in hosts:
                    image = pb.Image(uri=f"http://{host}:{port}/cat.png")
                    try:
                        stub.EmbedImage(pb.EmbedImageRequest(images=[image]), timeout=60)
                    except Exception as error:
                        said.append(str(error.code()))  # type: ignore[attr-defined]  # grpc.RpcError
                    reply = ask(server, input={"image_url": {"url": image.uri}})
                    assert (reply.status, reply.json["error"]["param"]) == (400, "input.image_url.url")
                    assert reply.code == "uri_not_allowed"
            assert server.metric("altclip_image_fetches_total", fetch="refused") == 2 * len(said)
            return said

    try:
        said = await asyncio.to_thread(call_all)
    finally:
        listener.close()
    assert said == ["StatusCode.INVALID_ARGUMENT"] * len(ports) * len(hosts)
    assert reached == []
