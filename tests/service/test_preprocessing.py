"""Texts and pictures made ready, off the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
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


class Recorder:
    """A tokenizer and an image processor that note which thread they ran in."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        self.threads.append(threading.current_thread().name)
        return [Tokens(np.zeros(2, np.int32), False) for _ in texts]

    def prepare(self, content: bytes) -> Pixels:
        with self._lock:
            self.threads.append(threading.current_thread().name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self._lock:
            self.at_once -= 1
        if content == b"bad":
            raise Undecodable("not an image")
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


async def test_only_so_many_pictures_are_decoded_at_a_time(
    preprocessor: Preprocessor, recorder: Recorder
) -> None:
    recorder.seconds = 0.01
    await preprocessor.all_pixels(["x"] * 20, [Image(b"")] * 20)
    assert recorder.most_at_once <= 4


async def test_bulk_leaves_a_thread_to_interactive_work(
    preprocessor: Preprocessor, recorder: Recorder
) -> None:
    recorder.seconds = 0.1
    bulk = asyncio.gather(*(preprocessor.pixels("x", Image(b""), Priority.BULK) for _ in range(10)))
    await asyncio.sleep(0.05)
    assert recorder.at_once == 3
    started = time.monotonic()
    await preprocessor.pixels("x", Image(b""))
    assert time.monotonic() - started < 0.19
    await bulk


async def test_the_first_bad_picture_stops_the_others(preprocessor: Preprocessor, recorder: Recorder) -> None:
    recorder.seconds = 0.02
    images = [Image(b""), Image(b"bad"), *[Image(b"")] * 50]
    with pytest.raises(UndecodableImage) as refused:
        await preprocessor.all_pixels([f"images[{n}]" for n in range(52)], images)
    assert refused.value.violations[0].path == "images[1].content"
    await asyncio.sleep(0.1)
    assert len(recorder.threads) < 20


def test_long_lists_are_tokenised_in_parts_and_stay_in_order() -> None:
    texts = [str(number) * 100_000 for number in range(9)]
    assert [len(part) for part in parts(texts, 250_000)] == [2, 2, 2, 2, 1]
    assert [text for part in parts(texts, 250_000) for text in part] == texts
    assert [list(part) for part in parts(["a" * 10, "b"], 5)] == [["a" * 10], ["b"]]


def test_the_process_may_use_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1
