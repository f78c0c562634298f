"""Image addresses that reach for inside: refused, and no connection is begun. Real sockets, on loopback only.

The stand-in for the internet is a server on 127.0.0.1, which these tests alone permit, and a name service of
their own. Every connection that Python begins in this process is recorded (`connects`).
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.addresses import Address, NotAllowed, Rules, is_public
from service.dialling import Guard, Resolve
from service.fetching import Fetcher
from tests.certificates import make_pair
from tests.faults.processes import open_stub, service
from tests.service.running import Refused, Running, pictures, running

LOOPBACK = ip_address("127.0.0.1")
(PICTURE,) = pictures(1)
MEBIBYTE = 1 << 20

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

_connects: list[str] = []
_recording = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _recording and event == "socket.connect" and isinstance(arguments[1], tuple):
        _connects.append(str(arguments[1][0]))


sys.addaudithook(_audit)


@pytest.fixture
def connects() -> Iterator[list[str]]:
    """The addresses of all connections that Python code began, asyncio's included."""
    global _recording
    _connects.clear()
    _recording = True
    yield _connects
    _recording = False


class Names:
    """A name service. Each look-up takes the next answer of its name; the last one stays."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.lookups: list[str] = []
        self.answers = {name.replace("_", "."): list(answers) for name, answers in names.items()}

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.lookups.append(host)
        answers = self.answers.get(host, [""])
        return [ip_address(each) for each in (answers.pop(0) if len(answers) > 1 else answers[0]).split()]


class Origin:
    """A web server. `pages`: what it does for a path."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.open = self.most_open = self.sent = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            # Cancelled: the loop ends, and a page may still be in its sleep.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    path = head.split()[1].decode()
                    self.asked.append(path)
                    self.headers.append(head.decode())
                    await self.pages[path](writer)
                    await writer.drain()
        finally:
            self.open -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def page(self, path: str, body: bytes, *headers: str, status: str = "200 OK") -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            writer.write("\r\n".join(lines).encode() + body)

        self.pages[path] = answer

    def redirect(self, path: str, location: str, status: str = "302 Found") -> None:
        self.page(path, b"", f"Location: {location}", status=status)

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)


class Internet:
    """A service that fetches, the one host that it may reach, and the names there are."""

    def __init__(self, served: Running, origin: Origin, names: Any, fetcher: Fetcher) -> None:
        self.service, self.origin, self.names, self.fetcher = served, origin, names, fetcher

    def uri(self, path: str = "/cat.png", host: str = "pictures.example") -> str:
        return f"http://{host}:{self.origin.port}{path}"

    async def embed(self, *uris: str, **options: Any) -> Any:
        images = [pb.Image(uri=uri) for uri in uris]
        return await self.service.call("EmbedImage", pb.EmbedImageRequest(images=images), **options)

    async def refusal(self, uri: str) -> Refused:
        with pytest.raises(Refused) as refused:
            await self.embed(uri)
        error = refused.value
        assert error.code == "INVALID_ARGUMENT"
        assert error.paths == ["images[0].uri"]
        return error

    def fetches(self, outcome: str) -> float:
        return self.service.metrics.image_fetches.value(outcome)


@asynccontextmanager
async def internet(
    names: Resolve | None = None,
    *,
    hosts: Sequence[str] = (),
    concurrency: int = 8,
    context: ssl.SSLContext | None = None,
    **limits: Any,
) -> AsyncIterator[Internet]:
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    origin.page("/cat.png", PICTURE)
    names = names or Names(pictures_example=["127.0.0.1"])
    limits = {"most_bytes": MEBIBYTE, "seconds": 5.0, "cache_bytes": 0, **limits}
    async with running() as served:
        fetcher = Fetcher(
            Rules(frozenset({("https" if context else "http", origin.port), ("https", 443)}), tuple(hosts)),
            served.metrics,
            concurrency=concurrency,
            resolve=names,
            permits=lambda address: address == LOOPBACK or is_public(address),
            **limits,
        )
        served.server.core.model("").preprocessor.fetcher = fetcher
        try:
            yield Internet(served, origin, names, fetcher)
        finally:
            await fetcher.close()
            server.close()
            await asyncio.sleep(0)  # connections see their end


async def test_23_addresses_are_off_by_default(connects: list[str]) -> None:
    async with running() as served:
        request = pb.EmbedImageRequest(images=[pb.Image(uri="http://pictures.example/cat.png")])
        refused = await served.refusal("EmbedImage", request)
        assert (refused.reason, refused.info.metadata["host"]) == ("URI_NOT_ALLOWED", "pictures.example")
    assert connects == []


async def test_23_a_picture_behind_an_address_is_the_same_picture(connects: list[str]) -> None:
    async with internet() as web:
        fetched = await web.embed(web.uri())
        sent = await web.service.call("EmbedImage", pb.EmbedImageRequest(images=[pb.Image(content=PICTURE)]))
        assert fetched.embeddings.data == sent.embeddings.data
        assert web.fetches("ok") == 1
        assert "Cookie" not in web.origin.headers[0]
        assert "Accept-Encoding: identity" in web.origin.headers[0]
    assert connects == ["127.0.0.1"]


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


async def test_23_a_slow_drip_ends_in_time_and_leaves_no_connection() -> None:
    async with internet(seconds=0.5, concurrency=1) as web:

        async def drip(writer: asyncio.StreamWriter) -> None:
            await web.origin.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                await web.origin.send(writer, b".")
                await asyncio.sleep(0.02)

        web.origin.pages["/drip"] = drip
        started = time.monotonic()
        refused = await web.refusal(web.uri("/drip"))
        assert 0.4 < time.monotonic() - started < 3.0
        assert refused.reason == "URI_FETCH_FAILED"
        await web.embed(web.uri())  # the only place is free again
        async with asyncio.timeout(10):
            while web.origin.open > 1:  # noqa: ASYNC110 - the other end learns it from the kernel
                await asyncio.sleep(0.01)


async def test_23_headers_that_never_end_are_given_up() -> None:
    async with internet(seconds=2.0) as web:

        async def headers(writer: asyncio.StreamWriter) -> None:
            await web.origin.send(writer, b"HTTP/1.1 200 OK\r\n")
            while True:
                await web.origin.send(writer, b"X-" + b"a" * 4096 + b": b\r\n")

        web.origin.pages["/headers"] = headers
        assert (await web.refusal(web.uri("/headers"))).reason == "URI_FETCH_FAILED"
        assert web.origin.sent < 64 * MEBIBYTE


async def test_23_an_endless_body_is_cut_off() -> None:
    async with internet() as web:

        async def endless(writer: asyncio.StreamWriter) -> None:
            await web.origin.send(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await web.origin.send(writer, b"10000\r\n" + b"." * 0x10000 + b"\r\n")

        web.origin.pages["/endless"] = endless
        refused = await web.refusal(web.uri("/endless"))
        assert refused.reason == "URI_FETCH_FAILED"
        assert f"more than {MEBIBYTE} bytes" in refused.message
        assert web.origin.sent < 16 * MEBIBYTE  # what the kernel's buffers take included


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        (["Content-Length: 9999999999"], "200 OK", "more than"),
        (["Content-Encoding: gzip"], "200 OK", "compressed"),
        ([], "404 Not Found", "status 404"),
        ([], "206 Partial Content", "status 206"),
        ([], "304 Not Modified", ""),
    ],
)
async def test_23_other_answers_than_a_plain_picture_fail(headers: list[str], status: str, said: str) -> None:
    async with internet() as web:

        async def answer(writer: asyncio.StreamWriter) -> None:
            head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""])
            await web.origin.send(writer, head.encode() + PICTURE)
            writer.close()

        web.origin.pages["/odd"] = answer
        refused = await web.refusal(web.uri("/odd"))
        assert refused.reason == "URI_FETCH_FAILED"
        assert said in refused.message


async def test_23_a_host_that_does_not_answer_is_an_error_without_its_address() -> None:
    async with internet() as web:
        web.origin.pages["/garbage"] = lambda writer: web.origin.send(writer, b"SSH-2.0-OpenSSH\r\n\r\n")
        refused = await web.refusal(web.uri("/garbage"))
        assert refused.reason == "URI_FETCH_FAILED"
        assert "127.0.0.1" not in refused.message


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


async def test_23_the_content_decides_and_not_its_header() -> None:
    async with internet() as web:
        web.origin.page("/picture", PICTURE, "Content-Type: text/html")
        web.origin.page("/page", b"<html>", "Content-Type: image/png")
        web.origin.page("/empty", b"", "Content-Type: image/png")
        await web.embed(web.uri("/picture"))
        assert (await web.refusal(web.uri("/page"))).reason == "UNDECODABLE_IMAGE"
        assert (await web.refusal(web.uri("/empty"))).reason == "UNDECODABLE_IMAGE"


async def test_23_only_so_many_are_fetched_at_a_time() -> None:
    async with internet(concurrency=2) as web:

        async def slow(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.03)
            lines = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\nConnection: close\r\n\r\n"
            await web.origin.send(writer, lines.encode() + PICTURE)
            writer.close()

        web.origin.pages["/slow"] = slow
        answer = await web.embed(*[web.uri("/slow")] * 10)
        assert answer.embeddings.count == 10
        assert web.origin.most_open <= 2


async def test_23_bulk_work_leaves_places_for_interactive_calls() -> None:
    async with internet(concurrency=4, seconds=60.0) as web:
        release = asyncio.Event()

        async def held(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await web.origin.pages["/cat.png"](writer)

        web.origin.pages["/held"] = held
        images = [pb.Image(uri=web.uri("/held"))] * 8
        request = pb.EmbedImageRequest(images=images, priority=pb.PRIORITY_BULK)
        bulk = asyncio.create_task(web.service.call("EmbedImage", request))
        async with asyncio.timeout(10):
            while web.origin.open < 3:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            await web.embed(web.uri())
        release.set()
        assert (await bulk).embeddings.count == 8


async def test_23_a_cache_asks_once_and_obeys_no_store() -> None:
    async with internet(cache_bytes=MEBIBYTE) as web:
        web.origin.page("/private.png", PICTURE, "Cache-Control: max-age=1, No-Store")
        for _ in range(3):
            await web.embed(web.uri())
            await web.embed(web.uri("/private.png"))
        assert web.origin.asked.count("/cat.png") == 1
        assert web.origin.asked.count("/private.png") == 3
        assert (web.fetches("cached"), web.fetches("ok")) == (2, 4)


async def test_23_a_call_that_is_given_up_stops_fetching() -> None:
    async with internet(seconds=60.0, concurrency=1) as web:
        asked = asyncio.Event()

        async def never(writer: asyncio.StreamWriter) -> None:
            asked.set()
            await asyncio.sleep(3600)

        web.origin.pages["/never"] = never
        call = asyncio.create_task(web.embed(web.uri("/never")))
        await asked.wait()
        call.cancel()
        await asyncio.wait_for(web.embed(web.uri()), 10)


async def test_23_in_a_stream_it_is_an_error_of_the_item() -> None:
    async with internet() as web:
        stream = web.service.stream()
        uris = {"good": web.uri(), "inside": web.uri(host="10.0.0.1"), "gone": web.uri("/page")}
        web.origin.page("/page", b"", status="410 Gone")
        items = [pb.StreamItem(id=name, image=pb.Image(uri=uri)) for name, uri in uris.items()]
        await stream.write(pb.EmbedStreamRequest(config=pb.StreamConfig()))
        await stream.write(pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)))
        await stream.done_writing()
        answers = [answer async for answer in stream]
        assert [name for answer in answers for name in answer.ids] == ["good"]
        assert {error.id for answer in answers for error in answer.errors} == {"inside", "gone"}
        rows = np.frombuffer(b"".join(answer.embeddings.data for answer in answers), "<f4")
        assert rows.size == 16


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
                        stub.EmbedImage(pb.EmbedImageRequest(images=[image]), timeout=30)
                    except Exception as error:
                        said.append(str(error.code()))  # type: ignore[attr-defined]  # grpc.RpcError
            assert server.metric("altclip_image_fetches_total", fetch="refused") == len(said)
            return said

    try:
        said = await asyncio.to_thread(call_all)
    finally:
        listener.close()
    assert said == ["StatusCode.INVALID_ARGUMENT"] * len(ports) * len(hosts)
    assert reached == []


async def test_23_a_name_that_nobody_answers_costs_only_its_own_call() -> None:
    """Look-ups run in threads of their own; those that hang do not hold up others."""
    release = asyncio.Event()

    async def lookup(host: str, port: int) -> Sequence[Address]:
        if host == "silent.example":
            await release.wait()
        return [LOOPBACK]

    async with internet(lookup, seconds=0.5, concurrency=4) as web:
        silent = [asyncio.create_task(web.refusal(web.uri(host="silent.example"))) for _ in range(3)]
        await web.embed(web.uri())
        for refused in await asyncio.gather(*silent):
            assert refused.reason == "URI_FETCH_FAILED"
            assert "did not come within" in refused.message


async def test_23_a_fetcher_that_asks_the_machine_itself_closes_what_it_opened() -> None:
    async with running(image_urls=("http:80",)) as served:
        fetcher = served.server.core.model("").preprocessor.fetcher
        assert fetcher is not None
        request = pb.EmbedImageRequest(images=[pb.Image(uri="http://no-such-name.invalid/")])
        refused = await served.refusal("EmbedImage", request)
        assert refused.reason == "URI_NOT_ALLOWED"
        assert refused.message == "images[0].uri: its host has no public address"
    for thread in threading.enumerate():
        if thread.name.startswith("lookup"):
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()
