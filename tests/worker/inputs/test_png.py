"""What a PNG says beside its pixels never stands in their way."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.worker.inputs.pictures import IMAGES, frames, picture, png_chunk, saved
from worker.errors import UndecodableImage
from worker.inputs.images import ImagePreparer, Preprocessing
from worker.inputs.png import without_metadata

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1_000_000)
PLAIN = saved(picture(), "PNG")
HEADER_END = 33


def before(chunk: bytes) -> bytes:
    return PLAIN[:HEADER_END] + chunk + PLAIN[HEADER_END:]


def after(chunk: bytes) -> bytes:
    return PLAIN[:-12] + chunk + PLAIN[-12:]


LONG = zlib.compress(bytes(3 << 20))
INTACT: dict[str, Callable[[], bytes]] = {
    "a compressed text of 3 MB": lambda: before(png_chunk(b"zTXt", b"key\0\0" + LONG)),
    "an international text of 3 MB": lambda: before(png_chunk(b"iTXt", b"key\0\1\0\0\0" + LONG)),
    "a colour profile of 3 MB": lambda: before(png_chunk(b"iCCP", b"name\0\0" + LONG)),
    "such a text behind the pixels": lambda: after(png_chunk(b"zTXt", b"key\0\0" + LONG)),
    "forty of them, over 64 MB in all": lambda: before(png_chunk(b"zTXt", b"key\0\0" + LONG) * 40),
    "a text whose checksum is wrong": lambda: before(png_chunk(b"tEXt", b"key\0value")[:-1] + b"\0"),
    "a text without a key": lambda: before(png_chunk(b"tEXt", b"")),
    "a text that will not unpack": lambda: before(png_chunk(b"zTXt", b"key\0\0nonsense")),
    "a profile packed in an unknown way": lambda: before(png_chunk(b"iCCP", b"name\0\7nonsense")),
    "a private chunk with a wrong checksum": lambda: before(png_chunk(b"prVt", b"x")[:-1] + b"\0"),
    "a gamma cut short": lambda: before(png_chunk(b"gAMA", b"\0")),
    "XMP of a megabyte": lambda: before(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(1 << 20))),
}


@pytest.mark.parametrize("name", INTACT)
@pytest.mark.parametrize("upright", [False, True])
def test_a_png_with_whole_pixels_is_read(name: str, upright: bool) -> None:
    content = INTACT[name]()
    np.testing.assert_array_equal(PREPARER.prepare(content, upright=upright), PREPARER.prepare(PLAIN))


def test_what_is_seen_stays_and_a_file_without_more_is_not_copied() -> None:
    for name in ("png", "png with a transparent colour", "png with a transparent palette"):
        content = IMAGES[name]()
        assert without_metadata(content) is content
    animated = frames("PNG")
    for kind in (b"acTL", b"fcTL", b"fdAT"):
        assert without_metadata(animated).count(kind) == animated.count(kind)


@pytest.mark.parametrize("where", [40, 200, len(PLAIN) - 30])
def test_a_damaged_png_is_still_refused(where: int) -> None:
    content = before(png_chunk(b"zTXt", b"key\0\0" + LONG))
    damaged = content[: len(content) - len(PLAIN) + where]
    with pytest.raises(UndecodableImage, match="PNG image is damaged or truncated"):
        PREPARER.prepare(damaged)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
def test_lengths_that_lie_are_pillows_to_judge(length: bytes) -> None:
    content = PLAIN[:HEADER_END] + length + b"tEXt" + PLAIN[HEADER_END:]
    with pytest.raises(UndecodableImage):
        PREPARER.prepare(content)
