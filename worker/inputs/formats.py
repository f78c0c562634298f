"""Which image formats exist for us: the allowed, the refused, and what a header must tell first. No Pillow.

A file is what its first bytes say; names and media types are the caller's opinion.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

from worker.errors import UndecodableImage, UnsupportedImage
from worker.inputs import png

__all__ = ["reads_heif", "register_heif", "silence_libraries", "sniff", "webp_size"]

ALLOWED = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", png.SIGNATURE),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),
    ("TIFF", b"MM\0+"),
)
REFUSED = (
    ("FITS", b"SIMPLE  ="),
    ("EPS", b"%!PS"),
    ("EPS", b"\xc5\xd0\xd3\xc6"),
    ("PDF", b"%PDF"),
    ("PSD", b"8BPS"),
    ("ICO", b"\0\0\1\0"),
    ("CUR", b"\0\0\2\0"),
    ("ICNS", b"icns"),
    ("JPEG 2000", b"\0\0\0\x0cjP  "),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("JPEG XL", b"\xff\x0a"),
    ("JPEG XL", b"\0\0\0\x0cJXL "),
    ("MNG", b"\x8aMNG"),
    ("JNG", b"\x8bJNG"),
    ("DDS", b"DDS "),
    ("OpenEXR", b"v/1\1"),
    ("Radiance HDR", b"#?RADIANCE"),
    ("QOI", b"qoif"),
    ("XCF", b"gimp xcf"),
    ("FLIF", b"FLIF"),
    ("BPG", b"BPG\xfb"),
    ("DjVu", b"AT&TFORM"),
    ("WMF", b"\xd7\xcd\xc6\x9a"),
    ("Sun raster", b"\x59\xa6\x6a\x95"),
    ("XPM", b"/* XPM */"),
    *((f"PNM (P{kind})", b"P%d%c" % (kind, space)) for kind in range(1, 8) for space in b"\n\r\t "),
)

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_MOST_BRANDS = 512


def sniff(content: bytes) -> str:
    """Pillow's name of an allowed format; raises `UnsupportedImage` or `UndecodableImage`."""
    for name, signature in ALLOWED:
        if content.startswith(signature):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    for name, signature in REFUSED:
        if content.startswith(signature):
            raise UnsupportedImage(f"{name} images are not supported")
    if content[4:8] == b"ftyp":
        return _iso_media(content)
    if b"<svg" in content[:1024].lower():
        raise UnsupportedImage("SVG images are not supported")
    raise UndecodableImage("not an image of a known format" if content else "the image is empty")


def _iso_media(content: bytes) -> str:
    """Of a file that begins with an `ftyp` box (ISO 14496-12): a main brand, a version, other brands."""
    end = min(int.from_bytes(content[:4], "big"), len(content), _MOST_BRANDS)
    brands = {content[at : at + 4] for at in (8, *range(16, end - 3, 4))}
    if brands & _AVIF:
        return "AVIF"
    if not brands & _HEIC:
        raise UnsupportedImage("video and other media files are not supported")
    if not reads_heif():
        raise UnsupportedImage(
            "this server does not read HEIC images; send a JPEG, or have the operator install"
            " altclip-server[heic]"
        )
    return "HEIF"


@functools.cache
def reads_heif() -> bool:
    """Whether pillow-heif is installed: it is not part of a server, for the licences of its codecs."""
    return importlib.util.find_spec("pillow_heif") is not None


def register_heif() -> None:
    """Teaches Pillow to read HEIC files, pictures only, without threads of its own."""
    pillow_heif: Any = importlib.import_module("pillow_heif")  # not everywhere, so mypy may not know it
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def webp_size(content: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas, from its first chunk; raises `UndecodableImage`."""
    kind, body = content[12:16], content[20:30]
    if len(body) == 10 and kind == b"VP8X":  # flags, then each side less one in 24 bits
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if len(body) == 10 and kind == b"VP8L":  # a signature byte, then each side less one in 14 bits
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if len(body) == 10 and kind == b"VP8 ":  # frame tag and start code, then each side in 14 bits
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise UndecodableImage("the WEBP image is damaged or truncated")


def silence_libraries() -> None:
    """For a process that does nothing but decode untrusted files: Pillow and libtiff say nothing of them.

    What they find odd in a file (metadata, palettes) is no news for an operator, and may quote the file.
    libtiff writes to standard error, past every log. Call it when Pillow is loaded.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with contextlib.suppress(OSError):  # Pillow without it, or with it inside: nothing to tell
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for path in {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/libtiff" in line}:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
