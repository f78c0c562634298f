"""Pixels are those of transformers' PIL processor; what is no allowed, whole, small image is refused."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.worker.inputs.pictures import IMAGES, SIZE, frames, picture, png_header, saved
from worker.errors import ImageTooLarge, UndecodableImage
from worker.inputs import images
from worker.inputs.formats import silence_libraries
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=SIZE, resize=SIZE), max_pixels=1_000_000)
PROCESSOR = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_the_pil_processor(name: str) -> None:
    content = IMAGES[name]()
    ours = PREPARER.prepare(content)
    assert ours.shape == (SIZE, SIZE, 3)
    assert ours.dtype == np.uint8
    with Image.open(io.BytesIO(content)) as image:
        image.info.pop("transparency", None)
        plain = PROCESSOR([image.convert("RGB")], do_rescale=False, do_normalize=False, return_tensors="np")
        normal = PROCESSOR([image.convert("RGB")], return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(ours, plain["pixel_values"][0].transpose(1, 2, 0))
    wanted = Preprocessing(size=SIZE)
    scaled = ours * np.array(wanted.scale, np.float32) + np.array(wanted.shift, np.float32)
    np.testing.assert_allclose(scaled, normal.transpose(1, 2, 0), atol=2e-6)


def test_a_picture_hundreds_of_times_as_wide_as_high_costs_no_giant_row() -> None:
    content = saved(picture(width=60_000, height=1), "PNG")
    ours = PREPARER.prepare(content).astype(int)
    with Image.open(io.BytesIO(content)) as image:
        plain = PROCESSOR([image.convert("RGB")], do_rescale=False, do_normalize=False, return_tensors="np")
    assert np.abs(ours - plain["pixel_values"][0].transpose(1, 2, 0)).max() <= 1


@pytest.mark.parametrize("edge", [16, 40])
def test_a_crop_larger_or_smaller_than_the_resized_edge_is_padded_or_cut_as_transformers_does(
    edge: int,
) -> None:
    preparer = ImagePreparer(Preprocessing(size=SIZE, resize=edge), max_pixels=1_000_000)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": edge}, crop_size={"height": SIZE, "width": SIZE}, do_rescale=False
    )
    theirs = processor([picture(width=33, height=51)], do_normalize=False, return_tensors="np")
    ours = preparer.prepare(saved(picture(width=33, height=51), "PNG"))
    np.testing.assert_array_equal(ours, theirs["pixel_values"][0].transpose(1, 2, 0))


@pytest.mark.parametrize("size", [(1031, 775), (1599, 1200), (3001, 2003), (130, 900)])
def test_a_fast_preparer_differs_by_little_and_in_large_jpegs_only(size: tuple[int, int]) -> None:
    fast = ImagePreparer(Preprocessing(size=SIZE, resize=SIZE), max_pixels=10_000_000, fast=True)
    exact = ImagePreparer(Preprocessing(size=SIZE, resize=SIZE), max_pixels=10_000_000)
    photograph = picture(width=size[0], height=size[1])
    for content in (
        saved(photograph, "JPEG"),
        saved(photograph, "MPO"),
        saved(photograph.convert("L"), "JPEG"),
    ):
        ours, theirs = fast.prepare(content).astype(int), exact.prepare(content).astype(int)
        assert np.abs(ours - theirs).mean() < 1
        assert np.abs(ours - theirs).max() <= 16
    for content in (saved(photograph, "PNG", compress_level=1), saved(picture(), "JPEG")):
        np.testing.assert_array_equal(fast.prepare(content), exact.prepare(content))


def truncations() -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"hello, I am no image",
        "random": np.random.default_rng(3).bytes(2000),
        "html": b"<html><body>404</body></html>",
        "half a jpeg": saved(picture(), "JPEG")[:-600],
        "jpeg without its end": saved(picture(), "JPEG")[:-2][:-40],
        "half a png": saved(picture(), "PNG")[:200],
        "half a webp": saved(picture(), "WEBP")[:100],
        "half a gif": saved(picture(), "GIF")[:500],
        "half a bmp": saved(picture(), "BMP")[:900],
        "half a tiff": saved(picture(), "TIFF")[:900],
        "a jpeg's first bytes": b"\xff\xd8\xff",
        "a png's first bytes": b"\x89PNG\r\n\x1a\n",
        "a webp's first bytes": b"RIFF\0\0\0\0WEBP",
        "a riff that is sound": b"RIFF\0\0\0\0WAVEfmt ",
        "a tiff that points at itself": b"II*\0\x08\0\0\0\x01\0\0\1\4\0\1\0\0\0\0\0\0\0\x08\0\0\0",
    }


@pytest.mark.parametrize("name", truncations())
def test_what_will_not_decode_is_undecodable_and_its_bytes_are_not_quoted(name: str) -> None:
    content = truncations()[name]
    with pytest.raises(UndecodableImage) as caught:
        PREPARER.prepare(content)
    assert "hello" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (50_000, 50_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header_without_a_warning(width: int, height: int) -> None:
    with pytest.raises((ImageTooLarge, UndecodableImage)) as caught:
        PREPARER.prepare(png_header(width, height))
    if width < 2**31 - 1:
        assert isinstance(caught.value, ImageTooLarge)
        assert f"{width} x {height}" in str(caught.value)


def test_pillows_own_limit_is_left_as_the_process_has_it_and_does_not_matter() -> None:
    code = (
        "import logging, warnings\nfrom PIL import Image\n"
        "def state(): return Image.MAX_IMAGE_PIXELS, list(warnings.filters), logging.getLogger('PIL').level\n"
        "before = state()\nfrom worker.inputs.images import ImagePreparer, Preprocessing\n"
        "assert state() == before and before[0]\n"
        "Image.MAX_IMAGE_PIXELS = 100\nimport io\nfile = io.BytesIO()\n"
        "Image.new('RGB', (60, 45)).save(file, 'PNG')\n"
        "preparer = ImagePreparer(Preprocessing(size=8, resize=8), 10_000)\n"
        "assert preparer.prepare(file.getvalue()).shape == (8, 8, 3)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_a_canvas_of_a_webp_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    animated = bytearray(frames("WEBP"))
    animated[24:27] = b"\xff\xff\xff"
    lossy, lossless = (saved(picture(width=1001, height=1000), "WEBP", lossless=how) for how in (False, True))
    opened: list[object] = []
    monkeypatch.setattr(images, "_opened", lambda *arguments: opened.append(arguments))
    for content, size in (
        (bytes(animated), "16777216 x 45"),
        (lossy, "1001 x 1000"),
        (lossless, "1001 x 1000"),
    ):
        with pytest.raises(ImageTooLarge, match=size):
            PREPARER.prepare(content)
    assert opened == []


def test_damaged_files_leave_no_word_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    silence_libraries()
    whole = saved(picture(), "TIFF", compression="tiff_lzw")
    for at in range(8, len(whole), 97):
        with contextlib.suppress(UndecodableImage, ImageTooLarge):
            PREPARER.prepare(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    assert capfd.readouterr().err == ""


def test_the_cap_is_on_pixels_and_inclusive() -> None:
    assert (
        ImagePreparer(Preprocessing(size=8, resize=8), 100)
        .prepare(saved(picture(width=10, height=10), "PNG"))
        .any()
    )
    with pytest.raises(ImageTooLarge):
        ImagePreparer(Preprocessing(size=8, resize=8), 99).prepare(saved(picture(width=10, height=10), "PNG"))


def test_many_threads_at_once_get_their_own_pixels() -> None:
    contents = [
        saved(picture(width=50 + n, height=40 + n), kind) for n in range(8) for kind in ("JPEG", "PNG")
    ]
    alone = [PREPARER.prepare(content) for content in contents]
    gate = threading.Barrier(8)

    def prepare(number: int) -> list[Any]:
        gate.wait()
        return [PREPARER.prepare(content) for content in contents]

    with ThreadPoolExecutor(8) as pool:
        for together in pool.map(prepare, range(8)):
            np.testing.assert_array_equal(np.stack(together), np.stack(alone))


def test_pillow_was_built_with_every_format_we_promise() -> None:
    assert all(features.check(name) for name in ("jpg", "webp", "zlib", "libtiff"))
