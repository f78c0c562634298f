"""One decoder process for a thread that waits for it: a batch job decodes with as many as it has threads.

It is started when there is a picture for it, and again for the next picture when it died or took too long.
What it answers is not trusted beyond pixels and a few known words.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import subprocess
import time
from typing import Any

import numpy as np

from worker.arrays import Pixels
from worker.decoder.starting import REFUSALS, memory_bytes, spawn
from worker.errors import ImageTooLarge, UndecodableImage
from worker.runtime import memory
from worker.runtime.control import Channel, Message

__all__ = ["Decoder"]

START_SECONDS = 30.0
LONGEST_REASON = 200


class Decoder:
    """Used by one thread. `close` ends the process.

    preparer: of `ImageProcessor.to_dict`. size: pixels per side of the result. most_bytes: of a file.
    seconds: for one picture.
    """

    def __init__(self, preparer: dict[str, Any], size: int, most_bytes: int, seconds: float) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._output = -(-most_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._config = {
            "title": "altclip-decoder",
            "preparers": [preparer],
            "input_bytes": self._output,
            "memory_bytes": memory_bytes(preparer["max_pixels"], most_bytes),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._slab: mmap.mmap | None = None

    def decode(self, content: bytes, *, upright: bool) -> Pixels:
        """The file's first frame, uint8 [size, size, 3]. Raises an ImageError; RuntimeError for our fault.

        upright: turned by its EXIF orientation.
        """
        if len(content) > self._most_bytes:
            raise ImageTooLarge(f"holds {len(content)} bytes; at most {self._most_bytes} are accepted")
        channel, slab = self._started()
        slab[: len(content)] = content
        try:
            channel.send("decode", {"preparer": 0, "size": len(content), "upright": upright})
            message = self._answer(channel, self._seconds)
            if message is None:
                raise UndecodableImage(f"the image takes more than {self._seconds:g} s to decode")
            if message.type == "pixels":
                flat = np.frombuffer(slab, np.uint8, 3 * self._size**2, self._output)
                return flat.reshape(self._size, self._size, 3).copy()
            reason = str(message.body["reason"])[:LONGEST_REASON]
            refusal = REFUSALS[message.body["kind"]](reason) if message.type == "refused" else None
        except BaseException as error:  # it died, or is under foreign control
            self.close()
            if isinstance(error, UndecodableImage) or not isinstance(error, Exception):
                raise
            raise UndecodableImage("the image could not be decoded") from error
        raise refusal or RuntimeError(f"a decoder failed: {reason}")

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = self._slab = None

    def _started(self) -> tuple[Channel, mmap.mmap]:
        """The process's channel and memory. Raises RuntimeError where none starts."""
        if self._channel is not None and self._slab is not None:
            return self._channel, self._slab
        descriptor = -1
        try:
            descriptor = memory.create("altclip-decoder", self._output + 3 * self._size**2)
            self._slab = memory.attach(descriptor)
            self._channel, theirs = Channel.pair()
            with theirs:
                self._process = spawn(theirs.fileno())
            with contextlib.suppress(OSError):  # dead already: no answer comes
                self._channel.send("config", self._config, [descriptor])
            message = self._answer(self._channel, START_SECONDS)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise RuntimeError("no decoder process starts") from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        if message is None or message.type != "ready":
            self.close()
            raise RuntimeError("no decoder process starts")
        return self._channel, self._slab

    def _answer(self, channel: Channel, seconds: float) -> Message | None:
        """The next message that is no part of a traceback; None where none comes in time. Raises EOFError
        when the process has died."""
        end = time.monotonic() + seconds
        readable = select.poll()  # `select.select` takes no descriptor above 1,023
        readable.register(channel, select.POLLIN)
        while (left := end - time.monotonic()) > 0 and readable.poll(1000 * left):
            message = channel.receive(descriptors=False)
            if message is None:
                raise EOFError
            if message.type != "crash":
                return message
        return None
