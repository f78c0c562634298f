"""Files that are no pictures, bombs, and decoders that die in the middle of one: that item fails alone."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from tests.e2e.test_bad_input import bomb, refusal
from tests.faults.harness import ROOM, open_stub, replacing, service
from tests.server import RunningServer, outliving, until
from tests.worker.inputs.pictures import frames, picture, png_header, saved

PIXELS = 36_000_000
DECODERS = 1
# As docs/operations.md has it, of each decoder; and room for everything else.
CAP = (DECODERS + 1) * (20 * PIXELS + (224 << 20)) + (200 << 20)
GOOD = saved(picture(), "JPEG")


@functools.cache
def slow(shade: int = 0, edge: int = 6000) -> bytes:
    """A picture that takes a second to decode, in a small file."""
    file = io.BytesIO()
    Image.new("RGBA", (edge, edge), (shade,) * 4).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    arguments = (f"--decoders={DECODERS}", f"--max-image-pixels={PIXELS}")
    with service("m=stub:dimension=8,image_size=32", *arguments) as running:
        yield running


@pytest.fixture
def stub(server: RunningServer) -> Iterator[Any]:
    with open_stub(server) as made:
        yield made


def embed(stub: Any, *contents: bytes) -> list[bytes]:
    answer = stub.EmbedImage(
        pb.EmbedImageRequest(images=[pb.Image(content=each) for each in contents]), timeout=60
    )
    return [bytes(row) for row in np.frombuffer(answer.embeddings.data, np.uint8).reshape(len(contents), -1)]


BAD = {
    "a pixel bomb": (bomb(30_000, 30_000), "IMAGE_TOO_LARGE"),
    "one pixel too many": (png_header(6001, 6000), "IMAGE_TOO_LARGE"),
    "a truncated JPEG": (GOOD[: len(GOOD) // 2], "UNDECODABLE_IMAGE"),
    "FITS": (b"SIMPLE  =                    T" + b" " * 3000, "UNSUPPORTED_IMAGE"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "UNSUPPORTED_IMAGE"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "UNSUPPORTED_IMAGE"),
    "nothing": (b"", "UNDECODABLE_IMAGE"),
    "noise": (np.random.default_rng(0).bytes(100_000), "UNDECODABLE_IMAGE"),
}


@pytest.mark.parametrize("name", BAD)
def test_22_a_bad_file_is_named(stub: Any, name: str) -> None:
    content, reason = BAD[name]
    assert refusal(lambda: embed(stub, GOOD, content)) == ("INVALID_ARGUMENT", reason, ["images[1].content"])


def test_22_an_mpo_photograph_is_its_first_frame_and_the_second_is_never_read(stub: Any) -> None:
    mpo = frames("MPO")
    second = mpo.index(b"\xff\xd8\xff", 3)
    (first,) = embed(stub, mpo)
    assert embed(stub, mpo[: second + 4] + bytes(len(mpo) - second - 4)) == [first]


def test_22_real_bombs_take_no_more_memory_than_the_decoders_may(server: RunningServer, stub: Any) -> None:
    embed(stub, GOOD)
    before = peak = memory(server)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(embed, stub, slow()) for _ in range(6)]
        while not all(call.done() for call in calls):
            peak = max(peak, memory(server))
            time.sleep(0.02)
        assert len({call.result()[0] for call in calls}) == 1
    assert peak - before < CAP
    until(lambda: memory(server) - before < 150 << 20, what="the memory is given back")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_22_a_decoder_that_dies_in_mid_decode_costs_its_own_item_only(
    server: RunningServer, stub: Any, how: signal.Signals
) -> None:
    (alone,) = embed(stub, GOOD)
    before = server.metric("altclip_decoder_restarts_total")
    others = {process.pid for process in server.processes() if not is_decoder(process)}
    start = len(server.logs.records)
    # Several that take long: who looks for a busy decoder may miss the first.
    large = {n: slow(n) for n in (3, 5, 7)}
    items = [pb.StreamItem(id=str(n), image=pb.Image(content=large.get(n, GOOD))) for n in range(12)]
    requests = [
        pb.EmbedStreamRequest(config=pb.StreamConfig()),
        pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items)),
    ]
    killer = threading.Thread(target=kill_the_busy_one, args=(server, how))
    killer.start()
    found, errors = {}, {}
    for answer in stub.EmbedStream(iter(requests), timeout=120):
        rows = np.frombuffer(answer.embeddings.data, np.uint8).reshape(max(1, len(answer.ids)), -1)
        found.update({name: bytes(row) for name, row in zip(answer.ids, rows, strict=False)})
        errors.update({error.id: error.status for error in answer.errors})
    killer.join()
    ((failed, error),) = errors.items()
    assert int(failed) in large
    assert found.keys() == {str(n) for n in range(12)} - {failed}
    assert all(found[str(n)] == alone for n in range(12) if n not in large)
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert b"UNDECODABLE_IMAGE" in error.SerializeToString()
    assert b"image.content" in error.SerializeToString()
    ended = server.logs.wait_for("decoder_ended", start=start)
    assert ended["level"] == "warning"
    assert server.metric("altclip_decoder_restarts_total") == before + 1
    assert embed(stub, GOOD) == [alone]
    assert {process.pid for process in server.processes() if not is_decoder(process)} == others


@pytest.mark.parametrize("stopped", [False, True])
def test_22_decoders_end_with_their_frontend(server: RunningServer, stub: Any, stopped: bool) -> None:
    embed(stub, GOOD, slow())
    decoders = server.processes("altclip-decoder")
    assert decoders
    if stopped:
        for each in decoders:
            each.suspend()
    with replacing(server):
        server.processes("altclip-frontend")[0].kill()
        assert outliving(decoders, seconds=2.0 + ROOM) == []


def is_decoder(process: psutil.Process) -> bool:
    return "altclip-decoder" in " ".join(process.cmdline())


def kill_the_busy_one(server: RunningServer, how: signal.Signals) -> None:
    """The decoder that has grown by the pixels of a large picture, and has not given them back yet."""

    def killed() -> bool:
        return any(
            kill_in_mid_decode(decoder, how)
            for decoder in server.processes("altclip-decoder")
            if has_grown(decoder)
        )

    until(killed, what="a decoder works on a large picture", interval=0.002)


def kill_in_mid_decode(decoder: psutil.Process, how: signal.Signals) -> bool:
    """False where it has ended the picture before it stood still: then it goes on."""
    decoder.suspend()
    until(lambda: decoder.status() == psutil.STATUS_STOPPED, what="it stands still")
    works = has_grown(decoder)
    if works:
        os.kill(decoder.pid, how)
    with contextlib.suppress(psutil.NoSuchProcess):
        decoder.resume()  # a signal that waits ends it now
    return works


def has_grown(process: psutil.Process) -> bool:
    return bool(process.memory_info().rss > 80 << 20)


def memory(server: RunningServer) -> int:
    """Of all processes together."""
    total = 0
    for process in server.processes(""):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
