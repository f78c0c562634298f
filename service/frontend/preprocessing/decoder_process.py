"""One decoder process as its frontend keeps it: started, given one picture at a time, ended.

    starting ─ ready ─▶ idle ◀─ pixels, refused ─┐
                         └────── decode ──▶ busy ┘        dead, overdue or talking nonsense ─▶ gone

The picture goes over in shared memory, and its pixels come back there; over the socket go a few words. What
the process says is believed no further than it must be: it ran what a stranger sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from worker.arrays import Pixels
from worker.errors import ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage
from worker.runtime import logs, memory
from worker.runtime.control import Channel, describe_status

__all__ = ["DecoderProcess", "Picture"]

_events = logs.get("decoders")

START_SECONDS = 30.0
KEPT_BYTES = 4 << 20
"""Of the memory for files: what a larger one took is given back at once."""
LONGEST_REASON = 200
LONGEST_TRACEBACK = 1 << 16

# The refusals that it may answer with.
_REFUSALS: dict[str, type[ImageError]] = {
    kind.__name__: kind for kind in (UndecodableImage, UnsupportedImage, ImageTooLarge)
}
# It needs nothing of what the environment may hold, such as keys.
_ENVIRONMENT = ("PATH", "LANG", "LC_", "LD_", "PYTHON")


class Picture:
    """A picture to decode. preparer: which of those in the processes' configuration. size: S. begun: when a
    process took it, on the event loop's clock."""

    __slots__ = ("begun", "bulk", "content", "preparer", "result", "size")

    def __init__(self, content: bytes, preparer: int, size: int, bulk: bool) -> None:
        self.content = content
        self.preparer = preparer
        self.size = size
        self.bulk = bulk
        self.begun = 0.0
        self.result: asyncio.Future[Pixels] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Ends it, if somebody still waits."""
        if not self.result.done():
            self.result.set_exception(error)


class DecoderProcess:
    """`changed` is called with it when it became idle or is gone."""

    def __init__(
        self,
        number: int,
        config: dict[str, Any],
        output_bytes: int,
        seconds: float,
        changed: Callable[[DecoderProcess], None],
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
        self._seconds = seconds
        self._output = config["input_bytes"]
        self._loop = asyncio.get_running_loop()
        descriptor = memory.create("altclip-decoder", self._output + output_bytes)
        try:
            self._slab = memory.attach(descriptor)
            self._channel, theirs = Channel.pair()
            try:
                with theirs:
                    self._process = _spawn(theirs.fileno())
            except OSError:
                self._channel.close()
                raise
            with contextlib.suppress(OSError):  # dead already: `_readable` hears of it
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
        """Begins the picture; False if the process died before."""
        self._slab[: len(picture.content)] = picture.content
        try:
            self._channel.send("decode", {"preparer": picture.preparer, "size": len(picture.content)})
        except OSError:
            return False  # `_readable` is about to hear of it
        self.picture = picture
        self._timer = self._loop.call_later(self._seconds, self._overdue)
        return True

    def close(self) -> None:
        """Ends it; nobody is told."""
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
        except Exception:  # no message of ours: it is not itself any more
            self._end("spoke out of turn")

    def _heard(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "crash":
            self._crash += body["text"]
            if len(self._crash) > LONGEST_TRACEBACK:  # it does not crash, it talks
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
                self._slab.madvise(mmap.MADV_REMOVE, 0, self._output)
            self._settle(answer)
        self._timer.cancel()
        self._changed(self)

    def _answer(self, picture: Picture, kind: str, body: dict[str, Any]) -> Pixels | Exception:
        if kind == "pixels":
            flat = np.frombuffer(self._slab, np.uint8, 3 * picture.size**2, self._output)
            return flat.reshape(picture.size, picture.size, 3).copy()
        reason = str(body["reason"])[:LONGEST_REASON]
        if kind == "refused":
            return _REFUSALS[body["kind"]](reason)
        return RuntimeError(f"a decoder failed: {reason}")

    def _settle(self, answer: Pixels | Exception) -> None:
        """Ends the picture, if there is one and somebody still waits for it."""
        picture, self.picture = self.picture, None
        if picture is None:
            return
        if isinstance(answer, Exception):
            picture.fail(answer)
        elif not picture.result.done():
            picture.result.set_result(answer)

    def _overdue(self) -> None:
        self._settle(UndecodableImage(f"the image takes more than {self._seconds:g} s to decode"))
        self._end(f"needed more than {self._seconds:g} s")

    def _end(self, reason: str) -> None:
        """It is gone for its frontend from now on, and reaped as soon as the kernel has ended it."""
        if self.gone:
            return
        self.gone = True
        self._timer.cancel()
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._process.kill()  # no harm where it is dead: it keeps the status that it died with
        self._settle(UndecodableImage("the image could not be decoded"))
        reaped = self._loop.run_in_executor(None, self._process.wait)
        if not self._closed:
            reaped.add_done_callback(lambda done: self._log(reason or describe_status(done.result())))
            self._changed(self)

    def _log(self, reason: str) -> None:
        traceback = {"traceback": self._crash} if self._crash else {}
        _events.warning("decoder_ended", reason=reason, pid=self.pid, **traceback)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter with that descriptor and nothing else of ours: its libraries write to nobody."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.decoder", str(descriptor)],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=kept,
    )


@functools.cache
def _unfiltered(reason: str) -> None:
    """Once in a frontend."""
    _events.warning(
        "decoders_unfiltered", "this kernel does not filter what decoders ask of it", reason=reason
    )
