"""Messages larger than they may be, or that say so: refused, and the service's memory stays where it was."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.faults.harness import all_started, embed, open_stub, service
from tests.server import RunningServer

METHOD = "/altclip.v1.EmbeddingService/EmbedText"
GROWTH = 100 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with service() as running:
        all_started(running)
        yield running


def memory(server: RunningServer, field: str) -> int:
    """Bytes of all processes together; what they share is counted once for each."""
    statuses = (Path(f"/proc/{process.pid}/status").read_text() for process in server.processes(""))
    return sum(
        int(line.split()[1]) << 10
        for status in statuses
        for line in status.splitlines()
        if line.startswith(f"{field}:")
    )


@contextmanager
def growth_is_capped(server: RunningServer, most: int = GROWTH) -> Iterator[None]:
    """At no moment of the block, however short, more than so many bytes."""
    for process in server.processes(""):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak counts from now
    before = memory(server, "VmRSS")
    yield
    growth = memory(server, "VmHWM") - before
    print(f"grew by {growth >> 20} MiB")
    assert growth < most


def refused(server: RunningServer, raw: bytes, **options: Any) -> str:
    """The code of a call with these bytes."""
    with grpc.insecure_channel(server.grpc, [("grpc.max_send_message_length", -1)], **options) as channel:
        call: Any = channel.unary_unary(METHOD)
        with pytest.raises(grpc.RpcError) as failed:
            call(raw, timeout=60)
        code: Any = failed.value
        return str(code.code().name)


def test_21_oversized_messages_are_refused(server: RunningServer) -> None:
    with growth_is_capped(server):
        for _ in range(4):
            assert refused(server, bytes(64 << 20)) == "RESOURCE_EXHAUSTED"
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1


def test_21_a_gzip_bomb_is_refused(server: RunningServer) -> None:
    with growth_is_capped(server):
        assert refused(server, bytes(400 << 20), compression=grpc.Compression.Gzip) == "RESOURCE_EXHAUSTED"


def test_21_a_field_that_is_only_a_length_is_refused(server: RunningServer) -> None:
    lengths = (
        b"\x12\xff\xff\xff\xff\x07",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x12\x80\x80\x80\x10x",
    )
    with growth_is_capped(server):
        assert [refused(server, raw) for raw in lengths] == ["INVALID_ARGUMENT"] * 3


def test_21_messages_that_announce_gigabytes_and_send_none_take_no_memory(server: RunningServer) -> None:
    with growth_is_capped(server):
        connections = [announce(server, 2**31 - 1) for _ in range(20)]
        time.sleep(0.5)
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1
    for connection in connections:
        connection.close()


def announce(server: RunningServer, size: int) -> socket.socket:
    """A call by hand, in HTTP/2: its message's length and a few bytes, then nothing."""

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body

    def header(name: str, value: str) -> bytes:
        return b"\0" + b"".join(bytes([len(part)]) + part.encode() for part in (name, value))

    headers = (
        header(":method", "POST")
        + header(":scheme", "http")
        + header(":path", METHOD)
        + header(":authority", server.grpc)
        + header("content-type", "application/grpc")
        + header("te", "trailers")
    )
    host, _, port = server.grpc.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    connection.sendall(frame(1, 4, 1, headers) + frame(0, 0, 1, struct.pack(">BI", 0, size) + bytes(100)))
    return connection
