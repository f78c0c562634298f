"""A file is what its first bytes say: read, refused by name, or no image at all."""

from __future__ import annotations

import pytest

from worker.decoder import samples
from worker.errors import UndecodableImage, UnsupportedImage
from worker.inputs import formats
from worker.inputs.formats import sniff
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1_000_000)

KNOWN_BUT_REFUSED = {
    "fits": b"SIMPLE  =                    T",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "binary eps": b"\xc5\xd0\xd3\xc6\x20\0\0\0",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "svg with a declaration": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<SVG width="1"></SVG>',
    "psd": b"8BPS\0\1",
    "ico": b"\0\0\1\0\1\0",
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "jpeg 2000 codestream": b"\xff\x4f\xff\x51\0\0",
    "video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "pdf": b"%PDF-1.7\n",
    "jpeg xl": b"\xff\x0a\0\0",
    "ppm": b"P6\n1 1\n255\n\0\0\0",
    "dds": b"DDS \x7c\0\0\0",
}


@pytest.mark.parametrize("name", KNOWN_BUT_REFUSED)
def test_a_known_format_that_is_not_allowed_is_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedImage):
        PREPARER.prepare(KNOWN_BUT_REFUSED[name])


def ftyp(*brands: bytes) -> bytes:
    """The box that an ISO media file begins with: its main brand, a version, and other brands."""
    body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"avif",), "AVIF"),
        ((b"avis", b"mif1"), "AVIF"),
        ((b"mif1", b"miaf", b"avif"), "AVIF"),
        ((b"heic", b"mif1"), "HEIF"),
        ((b"mif1", b"heic"), "HEIF"),
        ((b"heix",), "HEIF"),
    ],
)
def test_iso_media_files_are_told_apart_by_all_their_brands(
    brands: tuple[bytes, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "reads_heif", lambda: True)
    assert sniff(ftyp(*brands)) == kind


@pytest.mark.parametrize("content", [ftyp(b"isom", b"mp42"), ftyp(b"qt  "), ftyp(b"mif1"), b"\0\0\0\0ftyp"])
def test_a_video_is_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="video"):
        sniff(content)


def test_a_brand_counts_only_inside_of_its_box() -> None:
    with pytest.raises(UnsupportedImage):
        sniff(ftyp(b"isom") + b"avifavif")


def test_heic_without_its_reader_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "reads_heif", lambda: False)
    with pytest.raises(UnsupportedImage, match=r"send a JPEG.*altclip-server\[heic\]"):
        sniff(samples.HEIC)


def test_heic_with_its_reader_is_a_picture() -> None:
    pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    picture = PREPARER.picture(samples.HEIC)
    assert (picture.width, picture.height) == (24, 16)
    with pytest.raises(UndecodableImage):
        PREPARER.prepare(samples.HEIC[:300])


def test_avif_is_a_picture_upright_too() -> None:
    assert PREPARER.picture(samples.AVIF)[1:] == (24, 16)
    assert PREPARER.picture(samples.AVIF, upright=True)[1:] == (16, 24)
