"""Texts and pictures made ready, off the event loop."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from service.errors import UndecodableImage
from service.messages import Image
from service.preprocessing import INLINE_CHARACTERS, Preprocessor, Threads, parts, usable_cpus
from service.validation import Limits
from worker.errors import UndecodableImage as Undecodable
from worker.families import Pixels, Tokens
from worker.jobs import Priority

GOOD, BAD = b"GIF87a", b"GIF87aBAD"


class Recorder:
    """A tokenizer that notes which thread it ran in, and decoders that note what they were given."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.begun: list[bytes] = []
        self.seconds = 0.0

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        self.threads.append(threading.current_thread().name)
        return [Tokens(np.zeros(2, np.int32), False) for _ in texts]

    async def prepare(self, content: bytes, priority: Priority) -> Pixels:
        self.begun.append(content)
        await asyncio.sleep(self.seconds)
        if content == BAD:
            raise Undecodable("it is damaged")
        return np.zeros((2, 2, 3), np.uint8)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def preprocessor(recorder: Recorder) -> AsyncIterator[Preprocessor]:
    threads = Threads(3)
    yield Preprocessor(recorder, recorder, threads, Limits())
    threads.close()


async def test_short_texts_are_tokenised_where_they_are_and_long_ones_in_a_thread(
    preprocessor: Preprocessor, recorder: Recorder
) -> None:
    await preprocessor.tokens(["a"])
    await preprocessor.tokens(["a" * (INLINE_CHARACTERS + 1)])
    assert recorder.threads[0] == threading.current_thread().name
    assert recorder.threads[1].startswith("prepare")


async def test_bulk_leaves_a_thread_to_interactive_work() -> None:
    threads = Threads(2)
    held = threading.Event()
    bulk = [asyncio.create_task(threads.run(held.wait, Priority.BULK)) for _ in range(4)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(threads.run(lambda: "at once"), 5) == "at once"
    held.set()
    await asyncio.gather(*bulk)
    threads.close()


async def test_what_is_no_picture_reaches_no_decoder(preprocessor: Preprocessor, recorder: Recorder) -> None:
    with pytest.raises(UndecodableImage) as refused:
        await preprocessor.pixels("images[0]", Image(b"hello"))
    assert refused.value.violations[0].path == "images[0].content"
    assert recorder.begun == []


async def test_a_data_uri_is_unpacked_in_a_thread(preprocessor: Preprocessor, recorder: Recorder) -> None:
    await preprocessor.pixels("x", Image(uri="data:image/gif;base64," + base64.b64encode(GOOD).decode()))
    assert recorder.begun == [GOOD]
    with pytest.raises(UndecodableImage) as refused:
        await preprocessor.pixels("x", Image(uri="data:,GIF87aBAD"))
    assert refused.value.violations[0].path == "x.uri"


async def test_the_first_bad_picture_stops_the_others(preprocessor: Preprocessor, recorder: Recorder) -> None:
    recorder.seconds = 0.02
    images = [Image(GOOD), Image(BAD), *[Image(GOOD)] * 5]
    with pytest.raises(UndecodableImage) as refused:
        await preprocessor.all_pixels([f"images[{n}]" for n in range(7)], images)
    assert refused.value.violations[0].path == "images[1].content"


def test_long_lists_are_tokenised_in_parts_and_stay_in_order() -> None:
    texts = [str(number) * 100_000 for number in range(9)]
    assert [len(part) for part in parts(texts, 250_000)] == [2, 2, 2, 2, 1]
    assert [text for part in parts(texts, 250_000) for text in part] == texts
    assert [list(part) for part in parts(["a" * 10, "b"], 5)] == [["a" * 10], ["b"]]


def test_the_process_may_use_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1
