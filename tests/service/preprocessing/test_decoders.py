"""Decoder processes: real ones, killed, stopped and kept busy; nobody but the picture at hand is hurt."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from service.frontend.preprocessing import decoder_process
from service.frontend.preprocessing import decoders as decoding
from service.frontend.preprocessing.decoder_process import DecoderProcess, Picture
from service.frontend.preprocessing.decoders import LEARNING, Decoders, Decoding
from tests.worker.inputs.pictures import IMAGES, png_header
from worker.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from worker.inputs.images import ImagePreparer, Preprocessing
from worker.runtime.control import Message
from worker.runtime.notices import BULK_SHARE, Priority

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=30_000_000)
SMALL = IMAGES["jpeg"]()


@functools.cache
def slow() -> bytes:
    """A file that takes about half a second: a large picture, compressed into little."""
    file = io.BytesIO()
    Image.new("RGB", (6000, 4900)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    made = Decoders(1, 1 << 20, 120.0)
    yield made
    made.close()


@pytest.fixture
def images(decoders: Decoders) -> Decoding:
    return decoders.prepared_as(PREPARER)


def processes(decoders: Decoders) -> list[DecoderProcess]:
    return decoders._processes


async def busy(decoders: Decoders) -> DecoderProcess:
    """The process that has begun a picture."""
    while True:
        for process in processes(decoders):
            if process.picture is not None:
                return process
        await asyncio.sleep(0.002)


async def stopped(decoders: Decoders, images: Decoding) -> DecoderProcess:
    """A process that was ready and now goes on with nothing: the next picture that it gets stays with it."""
    await images.prepare(SMALL)
    (process,) = processes(decoders)
    os.kill(process.pid, signal.SIGSTOP)
    return process


async def test_pixels_are_those_of_the_same_code_in_this_process(images: Decoding) -> None:
    contents = [make() for make in IMAGES.values()]
    together = await asyncio.gather(*map(images.prepare, contents))
    for content, decoded in zip(contents, together, strict=True):
        np.testing.assert_array_equal(decoded.pixels, PREPARER.prepare(content))


async def test_refusals_keep_their_kind_and_words(images: Decoding) -> None:
    for content, kind in (
        (SMALL[:300], UndecodableImage),
        (b"%!PS-Adobe", UnsupportedImage),
        (png_header(50_000, 50_000), ImageTooLarge),
    ):
        with pytest.raises(kind) as theirs:
            await images.prepare(content)
        with pytest.raises(kind) as ours:
            PREPARER.prepare(content)
        assert str(theirs.value) == str(ours.value)
    with pytest.raises(ImageTooLarge):
        await images.prepare(SMALL + bytes(1 << 20))


async def test_processes_are_started_as_they_are_needed_and_end_with_their_owner(
    decoders: Decoders, images: Decoding
) -> None:
    assert processes(decoders) == []
    await images.prepare(SMALL)
    (process,) = processes(decoders)
    child = psutil.Process(process.pid)
    assert " ".join(child.cmdline()).startswith("altclip-decoder 0")
    decoders.close()
    # It is killed, unless it leaves first because its channel is closed. None: somebody else has reaped it.
    assert child.wait(60) in (None, 0, -signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_decoder_that_dies_takes_its_own_picture_with_it_and_is_replaced(
    decoders: Decoders, images: Decoding, how: signal.Signals
) -> None:
    process = await stopped(decoders, images)
    doomed = asyncio.ensure_future(images.prepare(SMALL, Priority.BULK))
    waiting = [asyncio.ensure_future(images.prepare(SMALL, Priority.BULK)) for _ in range(3)]
    assert await busy(decoders) is process
    os.kill(process.pid, how)
    os.kill(process.pid, signal.SIGCONT)
    with pytest.raises(UndecodableImage, match="could not be decoded"):
        await doomed
    for each in waiting:
        np.testing.assert_array_equal((await each).pixels, PREPARER.prepare(SMALL))
    assert process not in processes(decoders)


async def test_one_that_dies_idle_is_replaced_and_no_picture_fails(
    decoders: Decoders, images: Decoding
) -> None:
    await images.prepare(SMALL)
    (process,) = processes(decoders)
    os.kill(process.pid, signal.SIGKILL)
    psutil.Process(process.pid).wait(60)
    assert (await images.prepare(SMALL)).pixels.any()
    assert [each.pid for each in processes(decoders)] != [process.pid]


async def test_one_that_takes_too_long_is_ended(decoders: Decoders, images: Decoding) -> None:
    process = await stopped(decoders, images)
    process._seconds = 0.2  # others keep their time, however busy the machine is
    with pytest.raises(UndecodableImage, match=r"more than 0\.2 s"):
        await asyncio.wait_for(images.prepare(SMALL), 60)
    assert (await images.prepare(SMALL)).pixels.any()


async def test_bulk_leaves_a_process_to_interactive_work(decoders: Decoders, images: Decoding) -> None:
    process = await stopped(decoders, images)
    bulk = [asyncio.ensure_future(images.prepare(SMALL, Priority.BULK)) for _ in range(3)]
    assert await busy(decoders) is process
    await images.prepare(SMALL)
    assert not any(each.done() for each in bulk)
    for each in bulk:
        each.cancel()


async def test_interactive_work_that_never_ceases_leaves_bulk_a_share(
    decoders: Decoders, images: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    take = DecoderProcess.take

    def noted(process: DecoderProcess, picture: Picture) -> bool:
        begun.append(picture.bulk)
        return take(process, picture)

    monkeypatch.setattr(DecoderProcess, "take", noted)
    waiting = [images.prepare(SMALL) for _ in range(3 * BULK_SHARE)]
    waiting += [images.prepare(SMALL, Priority.BULK) for _ in range(3)]
    await asyncio.gather(*waiting)
    share = [*[False] * (BULK_SHARE - 1), True]
    # The second bulk one is not begun before the first has ended, however long a busy machine takes for it.
    assert begun[: 2 * BULK_SHARE - 1] == [*share, *share[:-1]]
    assert sum(begun) == 3


async def test_what_was_cancelled_is_not_begun(
    decoders: Decoders, images: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stopped(decoders, images)
    taken: list[bytes] = []
    take = process.take

    def noted(picture: Picture) -> bool:
        taken.append(picture.content)
        return take(picture)

    monkeypatch.setattr(process, "take", noted)
    first = asyncio.ensure_future(images.prepare(SMALL, Priority.BULK))
    await busy(decoders)
    others = [asyncio.ensure_future(images.prepare(slow(), Priority.BULK)) for _ in range(50)]
    last = asyncio.ensure_future(images.prepare(SMALL, Priority.BULK))
    await asyncio.sleep(0)
    for each in others:
        each.cancel()
    os.kill(process.pid, signal.SIGCONT)
    await asyncio.gather(first, last)
    assert taken == [SMALL, SMALL]


async def test_nobody_waits_for_decoders_that_were_closed(decoders: Decoders, images: Decoding) -> None:
    await stopped(decoders, images)
    waiting = [asyncio.ensure_future(images.prepare(SMALL, Priority.BULK)) for _ in range(4)]
    await busy(decoders)
    decoders.close()
    await asyncio.wait(waiting, timeout=60)
    assert all(each.done() and (each.cancelled() or each.exception()) for each in waiting)
    with pytest.raises(RuntimeError):
        await images.prepare(SMALL)


async def ended(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What the log says of a decoder that has ended."""
    while True:
        for record in caplog.records:
            if vars(record).get("event") == "decoder_ended":
                fields: dict[str, Any] = vars(record)["fields"]
                return fields
        await asyncio.sleep(0.01)


async def test_the_log_tells_where_a_decoder_crashed(
    decoders: Decoders, images: Decoding, caplog: pytest.LogCaptureFixture
) -> None:
    await images.prepare(SMALL)
    os.kill(processes(decoders)[0].pid, signal.SIGSEGV)
    fields = await ended(caplog)
    assert fields["reason"] == "SIGSEGV"
    assert "worker/decoder/__main__.py" in fields["traceback"]


async def test_a_picture_that_needs_more_memory_than_there_is_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "memory_bytes", lambda *_: 64 << 20)
    decoders = Decoders(1, 1 << 20, 120.0)
    images = decoders.prepared_as(PREPARER)
    with pytest.raises(ImageTooLarge, match="memory"):
        await images.prepare(slow())
    assert (await images.prepare(SMALL)).pixels.any()
    decoders.close()


async def test_where_no_process_starts_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "START_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("sys.executable", "/bin/false")
    decoders = Decoders(1, 1 << 20, 120.0)
    with pytest.raises(RuntimeError, match="no decoder process starts"):
        await decoders.prepared_as(PREPARER).prepare(SMALL)
    decoders.close()


async def test_a_decoder_that_talks_nonsense_is_ended(
    decoders: Decoders, images: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    await images.prepare(SMALL)
    (process,) = processes(decoders)
    nonsense: list[dict[str, Any]] = [{}, {"kind": "SystemExit", "reason": "x"}, {"kind": [], "reason": {}}]
    monkeypatch.setattr(decoder_process, "LONGEST_TRACEBACK", 64)
    flood = Message("crash", {"text": ""}, [])
    for message in [*(Message("refused", said, []) for said in nonsense), flood]:
        monkeypatch.setattr(process._channel, "receive", lambda message=message, **_: message)
        with pytest.raises(UndecodableImage):
            await images.prepare(SMALL)
        assert (await images.prepare(SMALL)).pixels.any()
        (process,) = processes(decoders)


async def test_the_wait_is_forecast_from_what_waits_and_what_pictures_took(
    decoders: Decoders, images: Decoding
) -> None:
    assert decoders.expected_wait(Priority.BULK) == 0.0
    began = time.monotonic()
    await stopped(decoders, images)
    took = time.monotonic() - began
    tasks = [asyncio.create_task(images.prepare(SMALL, Priority.BULK)) for _ in range(4)]
    await busy(decoders)
    assert 0.0 < decoders.expected_wait(Priority.BULK) <= 3 * took
    assert decoders.expected_wait(Priority.INTERACTIVE) == 0.0
    for task in tasks:
        task.cancel()


async def forecast(decoders: Decoders, images: Decoding) -> float:
    """The seconds that a bulk picture takes, as the wait behind two of them tells."""
    process = await stopped(decoders, images)
    tasks = [asyncio.create_task(images.prepare(SMALL, Priority.BULK)) for _ in range(3)]
    assert await busy(decoders) is process
    seconds = decoders.expected_wait(Priority.BULK) / 2
    for task in tasks:
        task.cancel()
    return seconds


async def test_a_picture_that_ran_out_of_time_counts_in_the_forecast(
    decoders: Decoders, images: Decoding
) -> None:
    process = await stopped(decoders, images)
    process._seconds = 0.5
    with pytest.raises(UndecodableImage, match=r"more than 0\.5 s"):
        await asyncio.wait_for(images.prepare(SMALL), 60)
    # A tenth of it, and then nine tenths of that, after the quick one that `forecast` needs itself.
    assert await forecast(decoders, images) >= 0.5 * LEARNING * (1 - LEARNING) * 0.99


async def test_a_picture_whose_caller_has_gone_counts_in_the_forecast(
    decoders: Decoders, images: Decoding
) -> None:
    process = await stopped(decoders, images)
    abandoned = asyncio.create_task(images.prepare(SMALL, Priority.BULK))
    assert await busy(decoders) is process
    abandoned.cancel()
    await asyncio.sleep(0.5)
    os.kill(process.pid, signal.SIGCONT)
    await images.prepare(SMALL, Priority.BULK)
    assert await forecast(decoders, images) >= 0.5 * LEARNING * (1 - LEARNING) ** 2 * 0.99
