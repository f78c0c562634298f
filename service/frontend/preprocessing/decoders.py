"""Decodes untrusted images in sandboxed child processes, and replaces a process that died or took too long.

    decode(picture) ─▶ two queues: interactive, bulk ─▶ an idle decoder process ─▶ pixels, or the item's error
                                  ▲                            │
                                  └── the others go on ◀── died, or took too long: replaced, its item fails

There are `count` processes, and one more that bulk work never uses, so that an interactive picture does not
wait for those of a stream. Interactive pictures go first. Where they never cease, a bulk one is begun after
some of them, unless another is under way, so that streams still move. Processes start when there is work for
them, the first when the frontend listens. A picture waits in its encoded form, which is small, and is not
begun once its caller has gone.

Measured on two cores against threads of the frontend: JPEGs of 0.07, 0.3 and 12 megapixels are decoded 1.05,
0.96 and 1.02 times as fast, and one alone takes as long (1.7, 5.0 and 150 ms).
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from service.frontend.compute.moving_average import blend
from service.frontend.preprocessing.decoder_process import DecoderProcess, Picture
from worker.arrays import Decoded
from worker.decoder.starting import memory_bytes
from worker.errors import ImageTooLarge
from worker.families import ImageProcessor
from worker.runtime import logs
from worker.runtime.cores import usable_cores
from worker.runtime.metrics import Metrics
from worker.runtime.notices import BULK_SHARE, Priority

if TYPE_CHECKING:
    from service.config.settings import Settings

__all__ = ["Decoders", "Decoding"]

_events = logs.get("decoders")

LEARNING = 0.1
"""The weight of a new picture in the averages."""
START_FAILURES = 3
START_AGAIN_SECONDS = 1.0


class Decoders:
    """The decoder processes of one frontend. Made on its event loop; `close` ends them."""

    def __init__(self, count: int, most_bytes: int, seconds: float, fast: bool = False) -> None:
        """most_bytes: of an image file. seconds: for one picture. fast: see `ImagePreparer`."""
        self.count = count
        self.died: Callable[[], None] = lambda: None
        """Called for each process that ended without being told to."""
        self._fast = fast
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._preparers: list[dict[str, Any]] = []
        self._most_pixels = 0
        self._output_bytes = 0
        self._waiting: Mapping[bool, deque[Picture]] = {False: deque(), True: deque()}  # by `Picture.bulk`
        self._interactive_begun = 0
        """How many interactive pictures were begun since the last bulk one."""
        self._processes: list[DecoderProcess] = []
        self._failures = 0
        self._resting = False
        self._closed = False
        self._each = 0.0
        """Seconds that a picture keeps a process, as a moving average."""
        self._bulk_part = 1.0
        """Of the pictures that were begun where a bulk one could have been, the part that were such, as a
        moving average."""

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Decoders:
        """As many as the settings say; with 0 the frontends share the cores."""
        count = settings.decoders or max(1, -(-usable_cores() // settings.frontends))
        fast = settings.jpeg_scaling == "fast"
        made = cls(count, settings.max_image_bytes, settings.decode_timeout, fast)
        made.died = metrics.decoder_restarts.inc
        return made

    def prepared_as(self, images: ImageProcessor) -> Decoding:
        """Decodes as this image processor would. Call it before the first process is started."""
        size = images.preprocessing.size
        preparer = {**images.to_dict(), "fast": self._fast}
        self._preparers.append(preparer)
        self._most_pixels = max(self._most_pixels, preparer["max_pixels"])
        self._output_bytes = max(self._output_bytes, 3 * size**2)
        return Decoding(self, len(self._preparers) - 1, size)

    def start(self) -> None:
        """Starts a first process, so that the first picture does not wait for it."""
        self._start(least=1)

    async def decode(self, picture: Picture) -> Decoded:
        """The pixels of a picture. Raises an ImageError; RuntimeError for our own fault."""
        if len(picture.content) > self._most_bytes:
            raise ImageTooLarge(
                f"holds {len(picture.content)} bytes; at most {self._most_bytes} are accepted"
            )
        if self._closed:
            raise RuntimeError("the decoders have been closed")
        self._waiting[picture.bulk].append(picture)
        self._pump()
        try:
            return await picture.result
        finally:
            # The queue may hold thousands: it is searched only if the caller has gone.
            if picture.result.cancelled() and picture in self._waiting[picture.bulk]:
                self._waiting[picture.bulk].remove(picture)

    def expected_wait(self, priority: Priority) -> float:
        """About how many seconds a picture that comes now would wait; 0.0 before the first."""
        interactive, bulk = len(self._waiting[False]), len(self._waiting[True])
        ahead: float = interactive
        if priority is Priority.BULK:  # others that come meanwhile go first, as many as did so far
            ahead = max(interactive + bulk, bulk / self._bulk_part)
        return ahead * self._each / self.count

    def close(self) -> None:
        """Ends all processes, and cancels what waits."""
        self._closed = True
        for process in self._processes:
            process.close()
        self._processes.clear()
        for line in self._waiting.values():
            while line:
                line.popleft().result.cancel()

    def _pump(self) -> None:
        """Gives work to idle processes, and starts more where work is left."""
        for process in self._processes:
            while process.idle and (picture := self._next()) is not None:
                if not process.take(picture):
                    self._waiting[picture.bulk].appendleft(picture)  # it was not begun
                    break
        self._start()

    def _next(self) -> Picture | None:
        """The next picture: interactive before bulk work, which leaves one process free."""
        under_way = sum(process.picture is not None and process.picture.bulk for process in self._processes)
        free = under_way < self.count
        bulk_is_due = not under_way and self._interactive_begun >= BULK_SHARE - 1
        for bulk in (True, False) if bulk_is_due else (False, True):
            line = self._waiting[bulk]
            while line and (free or not bulk):
                picture = line.popleft()
                if not picture.result.done():
                    self._interactive_begun = 0 if bulk else self._interactive_begun + 1
                    if bulk or (free and self._waiting[True]):
                        part = blend(self._bulk_part, float(bulk), LEARNING)
                        self._bulk_part = max(1 / BULK_SHARE, part)
                    return picture
        return None

    def _changed(self, process: DecoderProcess) -> None:
        """A process became ready or idle, or is gone."""
        least = 0
        if process.gone:
            least = len(self._processes)  # it is replaced at once, even if no picture waits
            self._processes.remove(process)
            self.died()
            if not process.ready:
                self._did_not_start("ended before it was ready")
        else:
            self._failures = 0
        self._pump()
        self._start(least)

    def _took(self, seconds: float) -> None:
        """A picture kept a process for so long. Others waited, even if it failed or its caller has gone."""
        self._each = blend(self._each, seconds, LEARNING)

    def _start(self, least: int = 0) -> None:
        """Starts processes, until there are as many as there is work for, or `least`."""
        busy = sum(process.picture is not None for process in self._processes)
        interactive, bulk = len(self._waiting[False]), len(self._waiting[True])
        wanted = max(least, min(busy + interactive + bulk, self.count + (interactive > 0)))
        while len(self._processes) < wanted and not self._resting and not self._closed:
            self._add()

    def _add(self) -> None:
        numbers = {process.number for process in self._processes}
        number = next(number for number in range(self.count + 1) if number not in numbers)
        config = {
            "preparers": self._preparers,
            "input_bytes": -(-self._most_bytes // mmap.PAGESIZE) * mmap.PAGESIZE,
            "memory_bytes": memory_bytes(self._most_pixels, self._most_bytes),
        }
        try:
            process = DecoderProcess(
                number, config, self._output_bytes, self._seconds, self._changed, self._took
            )
        except OSError as error:
            self._did_not_start(str(error))
        else:
            self._processes.append(process)

    def _did_not_start(self, reason: str) -> None:
        """Tries again after a pause. After some failures the pictures that wait fail."""
        self._failures += 1
        _events.error("decoder_not_started", reason=reason, failures=self._failures)
        if self._failures % START_FAILURES == 0:
            for line in self._waiting.values():
                while line:
                    line.popleft().fail(RuntimeError("no decoder process starts"))
        if not self._resting:
            self._resting = True
            asyncio.get_running_loop().call_later(START_AGAIN_SECONDS, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._start(least=1)


class Decoding:
    """The decoders with the image processor of one model."""

    def __init__(self, decoders: Decoders, preparer: int, size: int) -> None:
        self._decoders = decoders
        self._preparer = preparer
        self._size = size

    async def prepare(
        self, content: bytes, priority: Priority = Priority.INTERACTIVE, *, upright: bool = False
    ) -> Decoded:
        """The file's first frame; raises an ImageError. upright: turned by its EXIF orientation."""
        bulk = priority is Priority.BULK
        return await self._decoders.decode(
            Picture(content, self._preparer, self._size, upright=upright, bulk=bulk)
        )
