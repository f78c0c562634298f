"""Texts and pictures made ready, off the event loop."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from service.config.settings import Settings
from service.frontend.api.messages import Image
from service.frontend.api.validation import Limits
from service.frontend.compute.content_cache import digest
from service.frontend.preprocessing.preprocessing import (
    INLINE_BYTES,
    INLINE_CHARACTERS,
    Preprocessor,
    Threads,
    parts,
)
from worker.arrays import Decoded, Tokens
from worker.errors import UndecodableImage as Undecodable
from worker.runtime.notices import Priority

GOOD = b"GIF87a"


class Recorder:
    """A tokenizer that notes which thread it ran in, and decoders that note what they were given."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.begun: list[bytes] = []

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        self.threads.append(threading.current_thread().name)
        return [Tokens(np.zeros(2, np.int32), False) for _ in texts]

    async def prepare(self, content: bytes, priority: Priority, *, upright: bool) -> Decoded:
        self.begun.append(content)
        return Decoded(np.zeros((2, 2, 3), np.uint8), 2, 2)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def preprocessor(recorder: Recorder) -> AsyncIterator[Preprocessor]:
    threads = Threads(3)
    yield Preprocessor(recorder, recorder, threads, Limits.of(Settings()))
    threads.close()


async def test_short_texts_are_tokenised_where_they_are_and_long_ones_in_a_thread(
    preprocessor: Preprocessor, recorder: Recorder
) -> None:
    await preprocessor.tokens(["a"])
    await preprocessor.tokens(["a" * (INLINE_CHARACTERS + 1)])
    assert recorder.threads[0] == threading.current_thread().name
    assert recorder.threads[1].startswith("prepare")


async def test_a_text_that_the_tokenizer_fails_on_takes_no_other_with_it() -> None:
    class Failing(Recorder):
        def encode(self, texts: Sequence[str]) -> list[Tokens]:
            if "bad" in texts:
                raise ZeroDivisionError
            return super().encode(texts)

    threads = Threads(1)
    preprocessor = Preprocessor(Failing(), Recorder(), threads, Limits.of(Settings()))
    long = "a" * (INLINE_CHARACTERS + 1)
    found = await preprocessor.tokens_or_failures(["a", "bad", long, "bad", "b"])
    assert [type(each) for each in found] == [Tokens, ZeroDivisionError, Tokens, ZeroDivisionError, Tokens]
    with pytest.raises(ZeroDivisionError):
        await preprocessor.tokens(["a", "bad"])
    threads.close()


async def test_bulk_leaves_a_thread_to_interactive_work() -> None:
    threads = Threads(2)
    held = threading.Event()
    bulk = [asyncio.create_task(threads.run(held.wait, Priority.BULK)) for _ in range(4)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(threads.run(lambda: "at once"), 60) == "at once"
    held.set()
    await asyncio.gather(*bulk)
    threads.close()


async def test_what_is_no_picture_reaches_no_decoder(preprocessor: Preprocessor, recorder: Recorder) -> None:
    with pytest.raises(Undecodable):
        await preprocessor.pixels(b"hello")
    assert recorder.begun == []


async def test_a_file_comes_with_the_path_of_its_field(preprocessor: Preprocessor) -> None:
    uri = "data:image/gif;base64," + base64.b64encode(GOOD).decode()
    async with preprocessor.content("images[0]", Image(GOOD)) as given:
        assert given == ("images[0].content", GOOD)
    async with preprocessor.content("images[1]", Image(uri=uri)) as given:
        assert given == ("images[1].uri", GOOD)


async def test_large_files_are_known_by_the_same_hash_as_small_ones(preprocessor: Preprocessor) -> None:
    for size in (INLINE_BYTES, INLINE_BYTES + 1):
        assert await preprocessor.digest(b"x" * size) == digest(b"x" * size)


def test_long_lists_are_tokenised_in_parts_and_stay_in_order() -> None:
    texts = [str(number) * 100_000 for number in range(9)]
    assert [len(part) for part in parts(texts, 250_000)] == [2, 2, 2, 2, 1]
    assert [text for part in parts(texts, 250_000) for text in part] == texts
    assert [list(part) for part in parts(["a" * 10, "b"], 5)] == [["a" * 10], ["b"]]
