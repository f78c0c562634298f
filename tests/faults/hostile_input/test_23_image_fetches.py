"""Hosts that answer as they please: slow, endless, packed, wrong; and what a fetch may cost the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.preprocessing.addresses import Address
from tests.faults.hostile_input.internet import LOOPBACK, MEBIBYTE, PICTURE, connects, internet
from tests.service.running import running

__all__ = ["connects"]  # the fixture


async def test_23_a_picture_behind_an_address_is_the_same_picture(connects: list[str]) -> None:
    async with internet() as web:
        fetched = await web.embed(web.uri())
        sent = await web.service.call("EmbedImage", pb.EmbedImageRequest(images=[pb.Image(content=PICTURE)]))
        assert fetched.embeddings.data == sent.embeddings.data
        assert web.fetches("ok") == 1
        assert "Cookie" not in web.origin.headers[0]
        assert "Accept-Encoding: identity" in web.origin.headers[0]
    assert connects == ["127.0.0.1"]


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
        assert 0.4 < time.monotonic() - started < 10
        assert refused.reason == "URI_FETCH_FAILED"
        web.fetcher._seconds = 60.0  # this one may take its time
        await web.embed(web.uri())  # the only place is free again
        async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
            while web.origin.open < 3:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            await web.embed(web.uri())
        release.set()
        assert (await bulk).embeddings.count == 8


async def test_23_one_caller_leaves_places_to_others_and_what_is_cached_needs_none() -> None:
    async with internet(concurrency=4, seconds=3600.0, cache_bytes=MEBIBYTE) as web:
        release = asyncio.Event()

        async def held(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await web.origin.pages["/cat.png"](writer)

        async def fetched(caller: str, path: str) -> bytes:
            async with web.fetcher.content("images[0]", web.uri(path), caller=caller) as content:
                return content

        def fetches(caller: str, count: int) -> list[asyncio.Task[bytes]]:
            paths = [f"/held/{caller}/{number}" for number in range(count)]
            web.origin.pages |= dict.fromkeys(paths, held)
            return [asyncio.create_task(fetched(caller, path)) for path in paths]

        async def under_way(count: int) -> None:
            while sum(path.startswith("/held") for path in web.origin.asked) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            greedy = fetches("greedy", 8)
            await under_way(3)
            assert await fetched("another", "/cat.png") == PICTURE  # there is a place, and now it is cached
            greedy += fetches("greedier", 8)
            await under_way(4)
            assert await fetched("another", "/cat.png") == PICTURE
            assert (web.fetches("ok"), web.fetches("cached")) == (1, 1)
        release.set()
        assert await asyncio.gather(*greedy) == [PICTURE] * 16


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
        await asyncio.wait_for(web.embed(web.uri()), 60)


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


async def test_23_a_name_that_nobody_answers_costs_only_its_own_call() -> None:
    """Look-ups run in threads of their own; those that hang do not hold up others."""
    never = asyncio.Event()
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        if host == "silent.example":
            await never.wait()
        return [LOOPBACK]

    async with internet(lookup, seconds=0.5) as web:
        silent = [asyncio.create_task(web.refusal(web.uri(host="silent.example"))) for _ in range(3)]
        async with asyncio.timeout(60):
            while len(asked) < 3:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        web.fetcher._seconds = 60.0  # the next one may take its time
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
