"""One decoder process, from the frontend's side: it is started, gets one picture at a time, and is ended.

    starting ─ ready ─▶ idle ◀─ pixels, refused ─┐
                         └────── decode ──▶ busy ┘        dead, overdue, or an invalid message ─▶ gone

Shared memory carries the picture there and the pixels back; the socket carries short messages. The process
has handled untrusted input, so its messages are not trusted either: they are checked and cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from worker.arrays import Decoded
from worker.decoder.starting import REFUSALS, spawn
from worker.errors import UndecodableImage
from worker.runtime import logs, memory
from worker.runtime.control import Channel, describe_status

__all__ = ["DecoderProcess", "Picture"]

_events = logs.get("decoders")

START_SECONDS = 30.0
KEPT_BYTES = 4 << 20
"""A file larger than this gives its memory back as soon as it is decoded."""
LONGEST_REASON = 200
LONGEST_TRACEBACK = 1 << 16
LONGEST_SIDE = (1 << 32) - 1


class Picture:
    """A picture to decode, uint8 [size, size, 3] afterwards.

    preparer: its index in the processes' configuration. upright: it is turned by its EXIF orientation.
    """

    __slots__ = ("bulk", "content", "preparer", "result", "size", "upright")

    def __init__(self, content: bytes, preparer: int, size: int, *, upright: bool, bulk: bool) -> None:
        self.content = content
        self.preparer = preparer
        self.size = size
        self.upright = upright
        self.bulk = bulk
        self.result: asyncio.Future[Decoded] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Ends it with an error, if its caller still waits."""
        if not self.result.done():
            self.result.set_exception(error)


class DecoderProcess:
    """A decoder process. `changed` is called with it when it became ready or idle, or is gone.

    `took` is called with the seconds for which a picture kept it, whatever became of the picture.
    """

    def __init__(
        self,
        number: int,
        config: dict[str, Any],
        output_bytes: int,
        seconds: float,
        changed: Callable[[DecoderProcess], None],
        took: Callable[[float], None],
    ) -> None:
        """config: see `worker/decoder/__main__.py`, without the title. seconds: for one picture.

        Raises OSError.
        """
        self.number = number
        self.picture: Picture | None = None
        self.ready = False
        self.gone = False
        self._closed = False
        self._crash = ""
        self._changed = changed
        self._took = took
        self._begun = 0.0
        self._seconds = seconds
        self._output = config["input_bytes"]
        self._loop = asyncio.get_running_loop()
        descriptor = memory.create("altclip-decoder", self._output + output_bytes)
        try:
            self._slab = memory.attach(descriptor)
            self._channel, theirs = Channel.pair()
            try:
                with theirs:
                    self._process = spawn(theirs.fileno())
            except OSError:
                self._channel.close()
                raise
            with contextlib.suppress(OSError):  # dead already: `_readable` will notice
                self._channel.send("config", {"title": f"altclip-decoder {number}", **config}, [descriptor])
        finally:
            os.close(descriptor)
        self._timer = self._loop.call_later(START_SECONDS, self._end, "not ready in time")
        self._loop.add_reader(self._channel.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether it can take a picture now."""
        return self.ready and not self.gone and self.picture is None

    def take(self, picture: Picture) -> bool:
        """Begins a picture. Returns False if the process is dead."""
        self._begun = self._loop.time()
        self._slab[: len(picture.content)] = picture.content
        try:
            order = {
                "preparer": picture.preparer,
                "size": len(picture.content),
                "upright": picture.upright,
            }
            self._channel.send("decode", order)
        except OSError:
            return False  # `_readable` will notice it
        self.picture = picture
        self._timer = self._loop.call_later(self._seconds, self._overdue)
        return True

    def close(self) -> None:
        """Ends the process without calling `changed`."""
        self._closed = True
        self._end("")

    def _readable(self) -> None:
        try:
            message = self._channel.receive(wait=False, descriptors=False)
            if message is None:
                self._end("")
            else:
                self._heard(message.type, message.body)
        except BlockingIOError:
            return
        except Exception:  # an invalid message: the process may be under foreign control
            self._end("sent an invalid message")

    def _heard(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "crash":
            self._crash += body["text"] or " "  # so that no flood of empty ones goes on for ever
            if len(self._crash) > LONGEST_TRACEBACK:  # longer than any real traceback
                raise ValueError(kind)
            return
        if kind == "ready" and not self.ready:
            self.ready = True
            if body["unfiltered"]:
                _unfiltered(str(body["unfiltered"])[:LONGEST_REASON])
        elif self.picture is None:
            raise ValueError(kind)
        else:
            answer = self._answer(self.picture, kind, body)
            if len(self.picture.content) > KEPT_BYTES:
                with contextlib.suppress(OSError):  # a kernel in user space (gVisor) does not know it
                    self._slab.madvise(mmap.MADV_REMOVE, 0, self._output)
            self._settle(answer)
        self._timer.cancel()
        self._changed(self)

    def _answer(self, picture: Picture, kind: str, body: dict[str, Any]) -> Decoded | Exception:
        if kind == "pixels":
            width, height = (min(max(int(body[side]), 1), LONGEST_SIDE) for side in ("width", "height"))
            flat = np.frombuffer(self._slab, np.uint8, 3 * picture.size**2, self._output)
            return Decoded(flat.reshape(picture.size, picture.size, 3).copy(), width, height)
        reason = str(body["reason"])[:LONGEST_REASON]
        if kind == "refused":
            return REFUSALS[body["kind"]](reason)
        return RuntimeError(f"a decoder failed: {reason}")

    def _settle(self, answer: Decoded | Exception) -> None:
        """Answers the picture under way, if there is one and its caller still waits."""
        picture, self.picture = self.picture, None
        if picture is None:
            return
        self._took(self._loop.time() - self._begun)
        if isinstance(answer, Exception):
            picture.fail(answer)
        elif not picture.result.done():
            picture.result.set_result(answer)

    def _overdue(self) -> None:
        self._settle(UndecodableImage(f"the image takes more than {self._seconds:g} s to decode"))
        self._end(f"needed more than {self._seconds:g} s")

    def _end(self, reason: str) -> None:
        """The process is gone for its frontend. It is killed, and reaped as soon as it has ended."""
        if self.gone:
            return
        self.gone = True
        self._timer.cancel()
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._process.kill()  # a process that is dead keeps the status that it died with
        self._settle(UndecodableImage("the image could not be decoded"))
        reaped = self._loop.run_in_executor(None, self._process.wait)
        if not self._closed:
            reaped.add_done_callback(lambda done: self._log(reason or describe_status(done.result())))
            self._changed(self)

    def _log(self, reason: str) -> None:
        traceback = {"traceback": self._crash} if self._crash else {}
        _events.warning("decoder_ended", reason=reason, pid=self.pid, **traceback)


@functools.cache
def _unfiltered(reason: str) -> None:
    """Warns once in a frontend."""
    _events.warning(
        "decoders_unfiltered",
        "this kernel offers no system call filter for the decoder processes",
        reason=reason,
    )
