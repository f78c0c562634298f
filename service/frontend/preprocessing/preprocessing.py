"""From a caller's texts and pictures to what an encoder takes: token ids and pixels. Imports no transport.

    texts   ─ a few short ones on the event loop, others in a thread ─▶ Tokens
    images  ─ address → bytes, if allowed ─▶ data: URI → bytes, in a thread ─▶ cached, by its hash?
            ─▶ known signature? ─▶ decode, resize, crop: in another process (`decoders.py`) ─▶ uint8 [S, S, 3]

The threads are few (`Settings.preprocess_threads`), and bulk work never takes the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from service.frontend.api.messages import Image
from service.frontend.api.validation import Limits
from service.frontend.compute.content_cache import digest
from service.frontend.compute.single_flight import Seat, SingleFlight
from service.frontend.preprocessing.addresses import is_web
from service.frontend.preprocessing.data_uri import read_data_uri
from worker.arrays import Decoded, Tokens
from worker.families import Tokenizer
from worker.inputs.formats import sniff
from worker.runtime.cores import usable_cores
from worker.runtime.notices import Priority

if TYPE_CHECKING:
    from service.frontend.preprocessing.fetching import Fetcher

__all__ = ["INLINE_CHARACTERS", "Decodes", "Preprocessor", "Threads", "in_order"]

INLINE_CHARACTERS = 1024
"""Texts of so many characters together are tokenised on the event loop, in less than half a millisecond: to
hand them to a thread and back takes about as long."""

INLINE_BYTES = 1 << 18
"""A file of so many bytes is hashed on the event loop, in a quarter of a millisecond."""

PART_CHARACTERS = 1 << 18
"""Characters that a thread tokenises at a time (or one text), in a tenth of a second."""

Result = TypeVar("Result")


class Threads:
    """The threads of one frontend that prepare input, and one more that bulk work never uses."""

    def __init__(self, count: int = 0) -> None:
        """count: 0 means one for each core that the process may use."""
        self.count = count or usable_cores()
        self._executor = ThreadPoolExecutor(self.count + 1, thread_name_prefix="prepare")
        self._bulk = asyncio.Semaphore(self.count)

    async def run(self, function: Callable[[], Result], priority: Priority = Priority.INTERACTIVE) -> Result:
        """The function's result. It does not start if the caller is cancelled before its turn."""
        loop = asyncio.get_running_loop()
        if priority is Priority.INTERACTIVE:
            return await loop.run_in_executor(self._executor, function)
        async with self._bulk:
            return await loop.run_in_executor(self._executor, function)

    def close(self) -> None:
        """Drops what waits. What runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Decodes(Protocol):
    """Decodes image files, off the event loop."""

    async def prepare(self, content: bytes, priority: Priority, *, upright: bool) -> Decoded:
        """The file's first frame; raises an `ImageError`. upright: turned by its EXIF orientation."""
        ...


class Preprocessor:
    """The tokenizer and the image processor of one model."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        images: Decodes,
        threads: Threads,
        limits: Limits,
        fetcher: Fetcher | None = None,
    ) -> None:
        """fetcher: fetches pictures behind http(s) addresses; None refuses them."""
        self.fetcher = fetcher
        self._tokenizer = tokenizer
        self._images = images
        self._threads = threads
        self._limits = limits
        self._decoding: SingleFlight[tuple[bytes, bool], Decoded] = SingleFlight()

    async def tokens(
        self, texts: Sequence[str], priority: Priority = Priority.INTERACTIVE
    ) -> Sequence[Tokens]:
        """The token ids of each text."""
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            return self._tokenizer.encode(texts)
        tokens: list[Tokens] = []
        for part in parts(texts, PART_CHARACTERS):  # between two parts the call can be cancelled
            tokens += await self._threads.run(partial(self._tokenizer.encode, part), priority)
        return tokens

    async def tokens_or_failures(
        self, texts: Sequence[str], priority: Priority = Priority.INTERACTIVE
    ) -> Sequence[Tokens | Exception]:
        """The token ids of each text, or what the tokenizer raised over that text alone."""
        try:
            return await self.tokens(texts, priority)
        except Exception as error:
            if len(texts) == 1:
                return [error]
        return [each for text in texts for each in await self.tokens_or_failures([text], priority)]

    @asynccontextmanager
    async def content(
        self, path: str, image: Image, priority: Priority = Priority.INTERACTIVE, caller: str = ""
    ) -> AsyncIterator[tuple[str, bytes]]:
        """The path of the field that holds a picture, for errors, and the picture's file.

        path: of the image. caller: whom it is for. In the block a fetched picture holds its slot among the
        fetches.
        """
        if image.uri is None:
            yield f"{path}.content", image.content or b""
            return
        path = f"{path}.uri"
        if self.fetcher is not None and is_web(image.uri):
            async with self.fetcher.content(path, image.uri, priority, caller) as content:
                yield path, content
        else:
            read = partial(read_data_uri, path, image.uri, self._limits.max_image_bytes)
            yield path, await self._threads.run(read, priority)

    async def digest(self, content: bytes, priority: Priority = Priority.INTERACTIVE) -> bytes:
        """The hash of a file (see `content_cache`)."""
        if len(content) <= INLINE_BYTES:
            return digest(content)
        return await self._threads.run(partial(digest, content), priority)

    def decode(
        self, digest: bytes, content: bytes, priority: Priority, *, upright: bool = False
    ) -> Seat[Decoded]:
        """The pixels of a file, decoded once for all calls that want them meanwhile. `leave` must follow."""
        make = partial(self.pixels, content, priority, upright=upright)
        return self._decoding.join((digest, upright), priority, make)

    async def pixels(
        self, content: bytes, priority: Priority = Priority.INTERACTIVE, *, upright: bool = False
    ) -> Decoded:
        """The pixels of a file. Raises an `ImageError`. upright: turned by its EXIF orientation."""
        sniff(content)  # a file that is no image at all takes no decoder's time
        return await self._images.prepare(content, priority, upright=upright)


def parts(texts: Sequence[str], characters: int) -> Iterator[Sequence[str]]:
    """The texts in their order, in lists of about so many characters each."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if size + len(text) > characters and index > start:
            yield texts[start:index]
            start, size = index, 0
        size += len(text)
    yield texts[start:]


async def in_order(pending: Sequence[asyncio.Future[Result]]) -> Sequence[Result]:
    """The results, or the exception of the lowest index. Nothing is left running."""
    try:
        return [await future for future in pending]
    finally:
        for future in pending:
            future.cancel()
            # The exception is retrieved, so that asyncio does not report it.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
