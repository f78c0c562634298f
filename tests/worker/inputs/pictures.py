"""Image files of every kind that is read, made when they are asked for."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["IMAGES", "SIZE", "frames", "picture", "png_chunk", "png_header", "saved"]

SIZE = 32
TIFF_MODES = ("1", "LA", "P", "PA", "RGBA", "RGBX", "YCbCr", "LAB", "I", "I;16", "I;16B")
TIFF_COMPRESSIONS = ("tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma", "group3", "group4")


def picture(mode: str = "RGB", width: int = 60, height: int = 45) -> Image.Image:
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (9, 12, 4), np.uint8)
    image = Image.fromarray(coarse, "RGBA" if mode == "whatever" else None).resize((width, height))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def in_mode(mode: str) -> bytes:
    """A TIFF file of a mode: Pillow converts each one to RGB in a way of its own."""
    return saved(picture("L" if mode.startswith("I;") else "RGB").convert(mode), "TIFF")


def compressed(how: str) -> bytes:
    return saved(picture("1" if how.startswith("group") else "RGB"), "TIFF", compression=how)


def frames(kind: str) -> bytes:
    """A file of two frames, of which the second must not matter."""
    return saved(picture(), kind, save_all=True, append_images=[Image.new("RGB", (60, 45), "red")])


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter to the right"
    return saved(picture(), "JPEG", exif=exif)


def sixteen_bits() -> bytes:
    ramp = np.linspace(0, 65535, 60 * 45).astype(np.uint16).reshape(45, 60)
    return saved(Image.fromarray(ramp), "PNG")


def palette_with_transparency() -> bytes:
    image = picture().quantize(16)
    return saved(image, "PNG", transparency=bytes(range(0, 256, 16)))


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(picture(), "JPEG"),
    "progressive jpeg": lambda: saved(picture(), "JPEG", progressive=True),
    "grey jpeg": lambda: saved(picture("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(picture("CMYK"), "JPEG"),
    "jpeg with an orientation": exif_rotated,
    "mpo": lambda: frames("MPO"),
    "png": lambda: saved(picture(), "PNG"),
    "png with alpha": lambda: saved(picture("RGBA"), "PNG"),
    "grey png with alpha": lambda: saved(picture("LA"), "PNG"),
    "png with a palette": lambda: saved(picture("P"), "PNG"),
    "png with a transparent palette": palette_with_transparency,
    "png with a transparent colour": lambda: saved(picture(), "PNG", transparency=(1, 2, 3)),
    "png of 16 bits": sixteen_bits,
    "black and white png": lambda: saved(picture("1"), "PNG"),
    "animated png": lambda: frames("PNG"),
    "webp": lambda: saved(picture(), "WEBP"),
    "webp with alpha": lambda: saved(picture("RGBA"), "WEBP", lossless=True),
    "animated webp": lambda: frames("WEBP"),
    "gif": lambda: saved(picture(), "GIF"),
    "animated gif": lambda: frames("GIF"),
    "bmp": lambda: saved(picture(), "BMP"),
    "tiff": lambda: saved(picture(), "TIFF"),
    "tiff in two pages": lambda: frames("TIFF"),
    "lzw tiff": lambda: saved(picture(), "TIFF", compression="tiff_lzw"),
    "cmyk tiff": lambda: saved(picture("CMYK"), "TIFF"),
    "float tiff": lambda: saved(picture("F"), "TIFF"),
    "one pixel": lambda: saved(picture(width=1, height=1), "PNG"),
    "already of the right size": lambda: saved(picture(width=SIZE, height=SIZE), "PNG"),
    "very wide": lambda: saved(picture(width=3000, height=9), "PNG"),
    "very tall": lambda: saved(picture(width=2, height=900), "PNG"),
    "odd margins": lambda: saved(picture(width=61, height=44), "PNG"),
    "avif": lambda: saved(picture(), "AVIF"),
    "avif with alpha": lambda: saved(picture("RGBA"), "AVIF"),
    "animated avif": lambda: frames("AVIF"),
    **{f"{mode} tiff": partial(in_mode, mode) for mode in TIFF_MODES},
    **{f"tiff in {how}": partial(compressed, how) for how in TIFF_COMPRESSIONS},
}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )
