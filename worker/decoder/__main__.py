"""A decoder process: `python -m worker.decoder DESCRIPTOR`. Decodes untrusted images in a sandbox.

    frontend → decoder   config {title, preparers, input_bytes, memory_bytes} + slab
                         decode {preparer, size, upright}: the file stands at the start of the slab
    decoder → frontend   ready {unfiltered}
                         pixels {width, height}: they stand behind the place for files
                         refused {kind, reason}, failed {reason}

It decodes one image at a time. It imports Pillow and nothing large: numpy would start threads that the filter
does not cover. It loads what Pillow would load later, and then closes its sandbox (sandbox.py). The frontend
trusts no answer beyond pixels and a few known words, and replaces a decoder that dies.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from worker.decoder import samples
from worker.decoder.sandbox import shut
from worker.errors import ImageError
from worker.inputs.formats import reads_heif, register_heif, silence_libraries
from worker.inputs.images import ImagePreparer, Preprocessing
from worker.runtime import memory
from worker.runtime.control import Channel, Message, adopt, entitle, leave

__all__ = ["main"]

_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP")
# What Pillow imports at the first picture that needs it: as a file that can be opened no more by then.
_LATE = ("ImageCms", "ImageColor", "ImageFile", "ImageFilter", "ImageOps", "ImagePalette", "ImageSequence")
_MODES = ("1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")


def main() -> None:
    """Never returns normally."""
    channel = adopt(int(sys.argv[1]), "altclip-decoder")
    config = channel.receive()
    if config is None:
        leave()
    entitle(config.body["title"])
    (descriptor,) = config.descriptors
    work = _Work(channel, config.body, descriptor)
    os.close(descriptor)
    _prefer_for_the_oom_killer()
    silence_libraries()
    _warm_up()
    # libde265 decodes in a thread, however few it is told to use.
    unfiltered = shut(config.body["memory_bytes"], threads=reads_heif())
    channel.send("ready", {"unfiltered": unfiltered})
    while (message := channel.receive()) is not None:
        work.do(message)
    leave(0)


class _Work:
    """Reads from the slab and writes into it."""

    def __init__(self, channel: Channel, config: dict[str, Any], descriptor: int) -> None:
        self._channel = channel
        self._slab = memory.attach(descriptor)
        self._output = config["input_bytes"]
        self._preparers = [ImagePreparer.from_dict(each) for each in config["preparers"]]

    def do(self, message: Message) -> None:
        try:
            content = self._slab[: message.body["size"]]
            preparer = self._preparers[message.body["preparer"]]
            picture = preparer.picture(content, upright=message.body["upright"])
            pixels = picture.image.tobytes()
            self._slab[self._output : self._output + len(pixels)] = pixels
        except ImageError as error:
            self._channel.send("refused", {"kind": type(error).__name__, "reason": str(error)})
        except Exception as error:  # our bug; its text may quote the file
            self._channel.send("failed", {"reason": type(error).__name__})
        else:
            self._channel.send("pixels", {"width": picture.width, "height": picture.height})


def _warm_up() -> None:
    """Decodes a picture of each format and each mode, so that plugins, codecs and libraries are there."""
    Image.MAX_IMAGE_PIXELS = None  # ours stands in the settings
    for module in _LATE:
        importlib.import_module(f"PIL.{module}")
    for plugin in _PLUGINS:
        importlib.import_module(f"PIL.{plugin}ImagePlugin")
    # A thread would be outside of the filter, and none can be started.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    for mode in _MODES:
        Image.new(mode, (8, 8)).convert("RGB")
    files = [samples.AVIF]
    if reads_heif():
        register_heif()
        files.append(samples.HEIC)
    for kind in ("BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"):
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = 6
        Image.new("RGB", (24, 16)).save(file, kind, exif=exif)
        files.append(file.getvalue())
    preparer = ImagePreparer(Preprocessing(size=8, resize=8), max_pixels=1 << 12)
    for content in files:
        preparer.picture(content, upright=True).image.tobytes()


def _prefer_for_the_oom_killer() -> None:
    """Where memory runs out, the kernel ends a decoder first: that costs one picture. Below a limit of
    Kubernetes it ends the whole container with it (memory.oom.group)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main()
