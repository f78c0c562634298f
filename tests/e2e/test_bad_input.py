"""Hostile and broken requests to the whole service: each gets its error, nothing dies."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.server import RunningServer

SERVICE = "/altclip.v1.EmbeddingService"
MEGABYTES_OF_A_BOMB = 400


@pytest.fixture
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as made:
        yield made


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return EmbeddingServiceStub(channel)


def picture(kind: str = "PNG", size: tuple[int, int] = (90, 60)) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A valid PNG header that declares so many pixels, over a little data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refusal(call: Callable[[], object]) -> tuple[str, str, list[str]]:
    """Code, reason and paths of the error that this call must end with."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    error: Any = refused.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(details).details:
        for kind in (info, fields):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    return error.code().name, info.reason, [violation.field for violation in fields.field_violations]


JPEG = picture("JPEG")
IMAGES = {
    "nothing": (b"", "UNDECODABLE_IMAGE"),
    "one byte": (b"\xff", "UNDECODABLE_IMAGE"),
    "zeros": (b"\0" * 100_000, "UNDECODABLE_IMAGE"),
    "noise": (np.random.default_rng(0).bytes(100_000), "UNDECODABLE_IMAGE"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "UNDECODABLE_IMAGE"),
    "a JPEG's header": (JPEG[:4], "UNDECODABLE_IMAGE"),
    "half a PNG": (picture()[:500], "UNDECODABLE_IMAGE"),
    "FITS": (b"SIMPLE  =                    T" + b" " * 3000, "UNSUPPORTED_IMAGE"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "UNSUPPORTED_IMAGE"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "UNSUPPORTED_IMAGE"),
    "a pixel bomb": (bomb(30_000, 30_000), "IMAGE_TOO_LARGE"),
    "the largest header": (bomb(2**31 - 1, 2**31 - 1), "IMAGE_TOO_LARGE"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_picture_is_named_and_its_reason_given(stub: Any, name: str) -> None:
    content, reason = IMAGES[name]
    request = pb.EmbedImageRequest(images=[pb.Image(content=JPEG), pb.Image(content=content)])
    assert refusal(lambda: stub.EmbedImage(request)) == ("INVALID_ARGUMENT", reason, ["images[1].content"])


def test_invalid_utf8_is_named(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary(f"{SERVICE}/EmbedText")
    raw = pb.EmbedTextRequest(texts=["fine", "xx"]).SerializeToString().replace(b"xx", b"\xff\xfe")
    assert refusal(lambda: call(raw)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["texts[1]"])


def test_a_text_of_five_megabytes_is_too_long(stub: Any) -> None:
    request = pb.EmbedTextRequest(texts=["a", "猫" * 1_700_000])
    assert refusal(lambda: stub.EmbedText(request)) == ("INVALID_ARGUMENT", "TEXT_TOO_LONG", ["texts[1]"])


def test_thousands_of_texts_are_too_many(stub: Any) -> None:
    request = pb.EmbedTextRequest(texts=["a"] * 5000)
    assert refusal(lambda: stub.EmbedText(request)) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["texts"])


def test_what_the_limits_promise_is_accepted(server: RunningServer, stub: Any) -> None:
    assert stub.EmbedText(pb.EmbedTextRequest(texts=["a"] * 256)).embeddings.count == 256
    images = [pb.Image(content=JPEG)] * 64
    assert stub.EmbedImage(pb.EmbedImageRequest(images=images)).embeddings.count == 64
    # A message of 32 MiB: the picture in it is no picture, but the message is read.
    large = pb.EmbedImageRequest(images=[pb.Image(content=b"\0" * ((32 << 20) - 64))])
    assert refusal(lambda: stub.EmbedImage(large))[1] == "UNDECODABLE_IMAGE"


def test_oversized_messages_are_refused_bare_and_cost_little_memory(
    server: RunningServer, channel: grpc.Channel
) -> None:
    (frontend,) = server.processes("altclip-frontend")
    before = frontend.memory_info().rss
    call: Any = channel.unary_unary(f"{SERVICE}/EmbedText")
    for _ in range(4):
        assert refusal(lambda: call(b"\0" * (64 << 20))) == ("RESOURCE_EXHAUSTED", "", [])
    assert frontend.memory_info().rss - before < 200 << 20


def test_a_compressed_bomb_is_refused(server: RunningServer) -> None:
    (frontend,) = server.processes("altclip-frontend")
    before = frontend.memory_info().rss
    options = [
        ("grpc.default_compression_algorithm", grpc.Compression.Gzip),
        ("grpc.max_send_message_length", -1),
    ]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        call: Any = channel.unary_unary(f"{SERVICE}/EmbedText")
        code, reason, _ = refusal(lambda: call(b"\0" * (MEGABYTES_OF_A_BOMB << 20), timeout=60))
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "")
    assert frontend.memory_info().rss - before < 200 << 20


def test_neighbours_are_answered_right_and_every_process_lives(server: RunningServer, stub: Any) -> None:
    processes = {process.pid for process in server.processes()}
    texts = ["a photo of a cat", "", "一只猫", "chat"]
    alone = stub.EmbedText(pb.EmbedTextRequest(texts=texts)).embeddings.data

    def good() -> bool:
        found = np.frombuffer(stub.EmbedText(pb.EmbedTextRequest(texts=texts)).embeddings.data, "<f4")
        return bool(np.allclose(found, np.frombuffer(alone, "<f4"), atol=1e-5))

    def bad(content: bytes) -> bool:
        request = pb.EmbedImageRequest(images=[pb.Image(content=content)])
        return refusal(lambda: stub.EmbedImage(request))[0] == "INVALID_ARGUMENT"

    with ThreadPoolExecutor(16) as threads:
        pending = [threads.submit(good) for _ in range(60)]
        pending += [threads.submit(bad, content) for content, _ in list(IMAGES.values()) * 3]
        assert all(done.result() for done in pending)
    assert {process.pid for process in server.processes()} >= processes  # decoders may have joined
    assert all(psutil.pid_exists(pid) for pid in processes)
    assert server.metric("altclip_requests_total", code="INTERNAL") == 0
    assert server.metric("altclip_requests_total", code="UNKNOWN") == 0
