"""A Pillow image is sent as its pixels: no mode, palette or metadata changes what the service sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import altclip
from altclip import Client
from altclip.images.pillow import png_of
from tests.altclip.fake_service import FakeService
from worker.inputs.images import ImagePreparer, Preprocessing

PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=10**8)


def colourful(size: tuple[int, int] = (48, 36)) -> Image.Image:
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    channels = np.stack([across * 5, down * 7, (across + down) * 3], axis=-1) % 256
    return Image.fromarray(channels.astype(np.uint8))


def opened(image: Image.Image, kind: str, **options: Any) -> tuple[bytes, Image.Image]:
    """The image as a file, and as Pillow opens that file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue(), Image.open(io.BytesIO(file.getvalue()))


def seen(content: bytes) -> Any:
    """The pixels that the service makes of a file."""
    return PREPARER.prepare(content)


PROFILE = bytes(range(256)) * 7200  # 1.8 MB
TEXTS = PngImagePlugin.PngInfo()
TEXTS.add_itxt("prompt", "x" * 500_000)

FILES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "CMYK with a large profile": (colourful().convert("CMYK"), "JPEG", {"icc_profile": PROFILE}),
    "RGB with a large profile": (colourful(), "JPEG", {"icc_profile": PROFILE}),
    "PNG with texts": (colourful(), "PNG", {"pnginfo": TEXTS}),
    "palette with transparency": (colourful().quantize(9), "PNG", {"transparency": bytes([0, 9, 255])}),
    "GIF with a transparent colour": (colourful().quantize(9), "GIF", {"transparency": 3}),
    "grey with a transparent level": (colourful().convert("L"), "PNG", {"transparency": 7}),
    "RGB with a transparent colour": (colourful(), "PNG", {"transparency": (5, 7, 3)}),
    "RGBA": (colourful().convert("RGBA"), "PNG", {}),
    "16 bits": (Image.fromarray(np.arange(1728, dtype=np.uint16).reshape(36, 48) * 37), "PNG", {}),
    "floats": (Image.fromarray(np.arange(1728, dtype=np.float32).reshape(36, 48) / 7), "TIFF", {}),
    "CIELAB": (Image.merge("LAB", colourful().split()), "TIFF", {}),
    "bilevel": (colourful().convert("1"), "TIFF", {}),
    "EXIF that turns it": (colourful(), "JPEG", {"exif": Image.Exif()}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_an_opened_image_is_seen_as_its_file_is(name: str) -> None:
    image, kind, options = FILES[name]
    if name == "EXIF that turns it":
        options["exif"][0x0112] = 6
    file, as_opened = opened(image, kind, **options)
    sent = png_of(as_opened)
    np.testing.assert_array_equal(seen(sent), seen(file))
    with Image.open(io.BytesIO(sent)) as read:
        read.load()
        assert not read.info
    assert len(sent) < 20_000


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBX", "YCbCr", "HSV", "I", "F", "I;16", "I;16B"])
def test_every_mode_of_pillow_can_be_sent(mode: str) -> None:
    straight = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    image = colourful().convert(straight).convert(mode) if straight else Image.new(mode, (48, 36), 200)
    with Image.open(io.BytesIO(png_of(image))) as read:
        assert read.size == (48, 36)
        expected = image.convert(straight).convert("RGB") if mode in {"La", "RGBa"} else image.convert("RGB")
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(expected))


def test_what_info_holds_is_neither_sent_nor_lost() -> None:
    image = colourful()
    info: dict[str | tuple[int, int], Any] = {"icc_profile": 5, "transparency": "no", "exif": b"\xff"}
    image.info = info.copy()
    with Image.open(io.BytesIO(png_of(image))) as read:
        assert not read.info
    assert image.info == info


def test_the_frame_at_hand_is_sent() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    _, animated = opened(frames[0], "GIF", save_all=True, append_images=frames[1:])
    animated.seek(2)
    with Image.open(io.BytesIO(png_of(animated))) as read:
        assert read.convert("RGB").getpixel((4, 4)) == (0, 0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright_as_its_file_is(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file, as_opened = opened(colourful(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = PREPARER.prepare(file, upright=True)
    np.testing.assert_array_equal(seen(png_of(as_opened, upright=True)), expected)
    # The pixels that are sent say nothing of turning: the server must not do it again.
    np.testing.assert_array_equal(PREPARER.prepare(png_of(as_opened, upright=True), upright=True), expected)
    np.testing.assert_array_equal(seen(png_of(as_opened)), seen(file))


def test_exif_data_that_cannot_be_read_turns_nothing() -> None:
    image = colourful()
    image.info["exif"] = b"Exif\0\0garbage"
    np.testing.assert_array_equal(seen(png_of(image, upright=True)), seen(png_of(image)))


class TestImagesThatCannotBeRead:
    def broken(self) -> list[Image.Image]:
        file, _ = opened(colourful((400, 300)), "PNG")
        closed = Image.new("RGB", (4, 4))
        closed.close()
        return [Image.open(io.BytesIO(file[: len(file) // 2])), Image.new("RGB", (0, 5)), closed]

    @pytest.mark.parametrize("which", range(3))
    def test_a_call_names_the_image(self, client: Client, which: int) -> None:
        with pytest.raises(
            altclip.UnreadableInput, match=r"images\[1\]: Pillow cannot read the image"
        ) as caught:
            client.embed_image([colourful(), self.broken()[which]])
        assert caught.value.fields[0].field == "images[1]"

    def test_a_stream_goes_on(self, client: Client, service: FakeService, tmp_path: Path) -> None:
        items = [colourful(), *self.broken(), colourful()]
        results = sorted(client.embed_stream(items), key=lambda result: result.index)
        assert [type(result.error) for result in results] == [
            type(None), *[altclip.UnreadableInput] * 3, type(None)
        ]  # fmt: skip
        assert "items[2]: " in str(results[2].error)
