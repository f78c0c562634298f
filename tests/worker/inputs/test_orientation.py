"""Upright: a picture is turned as its EXIF data says, before it is resized; as stored it never is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.worker.inputs.pictures import SIZE, picture, png_chunk, saved
from worker.inputs.formats import silence_libraries
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=SIZE, resize=SIZE), max_pixels=10_000_000)
FAST = ImagePreparer(Preprocessing(size=SIZE, resize=SIZE), max_pixels=10_000_000, fast=True)
# Not square, and no two of its turns are alike.
WIDTH, HEIGHT = 91, 60


def with_orientation(kind: str, orientation: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(picture(width=width, height=height), kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "MPO"])
def test_upright_is_what_pillow_turns_before_anything_else(kind: str, orientation: int) -> None:
    content = with_orientation(kind, orientation)
    with Image.open(io.BytesIO(content)) as image:
        by_hand = saved(ImageOps.exif_transpose(image).convert("RGB"), "PNG")
        stored = saved(Image.fromarray(np.asarray(image.convert("RGB"))), "PNG")
    np.testing.assert_array_equal(PREPARER.prepare(content, upright=True), PREPARER.prepare(by_hand))
    np.testing.assert_array_equal(PREPARER.prepare(content), PREPARER.prepare(stored))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_and_fast_differ_by_little_from_upright_and_exact(orientation: int) -> None:
    content = with_orientation("JPEG", orientation, width=1031, height=777)
    fast, exact = (each.prepare(content, upright=True).astype(int) for each in (FAST, PREPARER))
    assert np.abs(fast - exact).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_that_is_told_is_the_pictures_own_as_it_is_seen(orientation: int) -> None:
    content = with_orientation("JPEG", orientation)
    stored, upright = PREPARER.picture(content), PREPARER.picture(content, upright=True)
    assert (stored.width, stored.height) == (WIDTH, HEIGHT)
    turned = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    assert (upright.width, upright.height) == turned
    fast = FAST.picture(with_orientation("JPEG", orientation, width=1000, height=600), upright=True)
    assert {fast.width, fast.height} == {1000, 600}


def test_a_tiff_is_upright_either_way_because_pillow_turns_it() -> None:
    """transformers gets it turned, too, so that parity holds."""
    content = with_orientation("TIFF", 6)
    upright = PREPARER.picture(content, upright=True)
    assert (upright.width, upright.height) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(PREPARER.prepare(content), np.asarray(upright.image))


def png_that_says(chunk: bytes) -> bytes:
    content = saved(picture(width=WIDTH, height=HEIGHT), "PNG")
    return content[:33] + chunk + content[33:]  # behind the header


def exif_chunk(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return png_chunk(b"eXIf", exif.tobytes()[6:])


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
NO_ORIENTATION = {
    "nothing": b"",
    "a number that means nothing": exif_chunk(9),
    "zero": exif_chunk(0),
    "EXIF data that is noise": png_chunk(b"eXIf", bytes(range(200))),
    "EXIF data cut off": exif_chunk(6)[:-20] + b"\0" * 8,
    "a damaged chunk": exif_chunk(6)[:-1] + b"\0",
}


@pytest.mark.parametrize("name", NO_ORIENTATION)
def test_a_picture_whose_exif_data_says_nothing_stays_as_it_is(name: str) -> None:
    silence_libraries()  # as in a decoder process: Pillow warns of damaged EXIF data
    if name == "EXIF data cut off":  # of a JPEG: a PNG's chunk would be cut off with it
        whole = with_orientation("JPEG", 6)
        at = whole.index(b"Exif\0\0")
        content = whole[: at + 12] + b"\xff" * 10 + whole[at + 22 :]
    else:
        content = png_that_says(NO_ORIENTATION[name])
    np.testing.assert_array_equal(PREPARER.prepare(content, upright=True), PREPARER.prepare(content))


def test_an_orientation_that_stands_in_xmp_alone_is_followed() -> None:
    content = png_that_says(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    assert PREPARER.picture(content, upright=True)[1:] == (HEIGHT, WIDTH)
