"""From the bytes of an untrusted file to the encoder's input: uint8 [S, S, 3]. Imports Pillow, nothing large.

    bytes → signature → header (size, cap) → decode the first frame → RGB → turn → resize → crop

What it computes is what transformers' PIL image processor computes from `image.convert("RGB")`: alpha is
dropped, and the picture is turned by its EXIF orientation only where the caller asks for that. transformers
before 5.21 did this conversion itself; from 5.21 on it lays pictures with alpha on white instead, which the
model's authors did not. Pillow and libheif turn TIFF and HEIC files themselves, so those are always upright.

Scaling to floats and normalising happen on the device (`Preprocessing.scale`, `.shift`). Safe to call from
many threads; Pillow releases the interpreter while it decodes and resizes. The service calls it in sandboxed
processes (`worker/decoder/__main__.py`).
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from PIL import Image

from worker.errors import ImageError, ImageTooLarge, ModelError, UndecodableImage
from worker.inputs.formats import register_heif, sniff, webp_size
from worker.inputs.orientation import Box, orientation_of, turned
from worker.inputs.png import without_metadata

if TYPE_CHECKING:
    from worker.arrays import Pixels

__all__ = ["ImagePreparer", "Picture", "Preprocessing"]

# A resized row longer than this (aspect ratios of hundreds to one) would cost more memory than the picture is
# worth: there only the part that is kept is computed, which can differ from the full resize in the last bit.
MAX_RESIZED_PIXELS = 1 << 24

FAST_MARGIN = 2
"""A fast preparer lets the JPEG decoder scale down to this many times the edge that is wanted, or more.
Measured with the bundled model (64 pixels): pictures of 0.8 to 24 megapixels took an eighth to a quarter of
the time, and their embeddings had a cosine of 0.99997 or more with the exact ones; with a margin
of 1, 0.9997."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What preprocessor_config.json asks for.

    resize: the shortest edge in pixels, or None for none; square: resize both edges to it instead.
    size: pixels per side after the crop. resample: Pillow's filter. scale, shift: per channel (RGB), with
    encoder input = uint8 × scale + shift.
    """

    size: int
    resize: int | None = None
    square: bool = False
    resample: int = Image.Resampling.BICUBIC
    scale: tuple[float, ...] = (1 / 255 / 0.26862954, 1 / 255 / 0.26130258, 1 / 255 / 0.27577711)
    shift: tuple[float, ...] = (-0.48145466 / 0.26862954, -0.4578275 / 0.26130258, -0.40821073 / 0.27577711)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """From preprocessor_config.json, or processor_config.json's image part; raises `ModelError`."""
        for name, part in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
            path = directory / name
            if path.is_file():
                try:
                    values = json.loads(path.read_text(encoding="utf-8"))
                    values = values.get(part, {}) if part else values
                except (OSError, ValueError, AttributeError) as error:
                    raise ModelError(f"{path} cannot be read: {error}") from error
                if values:
                    return cls.parse(values, str(path))
        raise ModelError(f"{directory} has no preprocessor_config.json")

    @classmethod
    def parse(cls, values: dict[str, Any], where: str) -> Self:
        """From the configuration of a CLIP image processor; raises `ModelError` for what it cannot do."""
        try:
            size, crop = values.get("size", 224), values.get("crop_size", 224)
            edge = size if isinstance(size, int) else size.get("shortest_edge", size.get("height"))
            square = isinstance(size, dict) and "shortest_edge" not in size
            sides = [crop, crop] if isinstance(crop, int) else [crop["height"], crop["width"]]
            if not values.get("do_center_crop", True):
                sides = [edge, size["width"]] if square else [0, 1]
            if sides[0] != sides[1] or (square and size["height"] != size["width"]):
                raise ModelError(f"{where}: the encoder needs square images")
            factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
            normalize = values.get("do_normalize", True)
            mean = values.get("image_mean", [0.48145466, 0.4578275, 0.40821073]) if normalize else [0.0] * 3
            deviation = (
                values.get("image_std", [0.26862954, 0.26130258, 0.27577711]) if normalize else [1.0] * 3
            )
            return cls(
                size=int(sides[0]),
                resize=int(edge) if values.get("do_resize", True) else None,
                square=square,
                resample=int(Image.Resampling(values.get("resample", Image.Resampling.BICUBIC))),
                scale=tuple(factor / d for d in deviation),
                shift=tuple(-m / d for m, d in zip(mean, deviation, strict=True)),
            )
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(f"{where}: not the configuration of a CLIP image processor") from error


class Picture(NamedTuple):
    """A prepared picture, and the width and height in pixels that it had before it was resized."""

    image: Image.Image
    width: int
    height: int


class ImagePreparer:
    """The `ImageProcessor` of every family that preprocesses as CLIP does."""

    def __init__(self, preprocessing: Preprocessing, max_pixels: int, fast: bool = False) -> None:
        """fast: JPEGs much larger than wanted are decoded at 1/2, 1/4 or 1/8 of their size, not exactly."""
        self.preprocessing = preprocessing
        self.max_pixels = max_pixels
        self.fast = fast

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, from which another process makes an equal one."""
        return {
            "preprocessing": asdict(self.preprocessing),
            "max_pixels": self.max_pixels,
            "fast": self.fast,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(Preprocessing(**values["preprocessing"]), values["max_pixels"], values["fast"])

    def prepare(self, content: bytes, *, upright: bool = False) -> Pixels:
        """The first frame of the file as uint8 [S, S, 3]; raises an `ImageError`.

        upright: turned as its EXIF orientation says, before it is resized.
        """
        import numpy as np

        return np.asarray(self.picture(content, upright=upright).image)

    def picture(self, content: bytes, *, upright: bool = False) -> Picture:
        """The same as an image of Pillow's, of S by S pixels in RGB, and the size that it had before."""
        kind = sniff(content)
        if kind == "WEBP":
            self._check(*webp_size(content))  # its decoder makes room for the canvas as soon as it is opened
        try:
            content = without_metadata(content) if kind == "PNG" else content
            with _opened(content, kind) as image:
                self._check(*image.size)
                image.info.pop("transparency", None)  # dropped by the conversion anyway, after a warning
                whole = image.size
                scaled = None
                if self.fast and kind == "JPEG" and self.preprocessing.resize is not None:
                    edge = FAST_MARGIN * self.preprocessing.resize
                    scaled = image.draft(None, (edge, edge))
                image.load()
                if scaled is None:  # the header of a HEIC file may tell another size than it has
                    self._check(*(whole := image.size))
                orientation = orientation_of(image) if upright else 1
                # A conversion that changes nothing would copy: as much memory again as the picture takes.
                picture = image if image.mode == "RGB" else image.convert("RGB")
                # What was scaled down holds a part of a pixel more than the file does.
                picture, box = turned(picture, scaled[1] if scaled else (0, 0, *whole), orientation)
                whole = whole[::-1] if orientation >= 5 else whole
                return Picture(self._fit(picture, whole, box), *whole)
        except ImageError:
            raise
        except Image.DecompressionBombError:  # only where the process has left Pillow's own limit in place
            raise ImageTooLarge("the image has more pixels than Pillow's limit in this process") from None
        except MemoryError:
            raise ImageTooLarge("the image needs too much memory to decode") from None
        except Exception:  # Pillow's decoders raise nearly everything; none of it may quote the bytes
            raise UndecodableImage(f"the {kind} image is damaged or truncated") from None

    def _check(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            limit = self.max_pixels
            raise ImageTooLarge(f"the image is {width} x {height} pixels, more than the {limit} allowed")
        if min(width, height) < 1:
            raise UndecodableImage("the image has no pixels")

    def _fit(self, picture: Image.Image, whole: tuple[int, int], box: Box) -> Image.Image:
        """Resize and centre crop, with the roundings of transformers' PIL processor.

        whole: the size of the file's picture, of which all is in this box of the given one.
        """
        wanted = self.preprocessing
        resample = Image.Resampling(wanted.resample)
        width, height = whole
        if wanted.resize is not None:
            short = min(width, height)
            new_width, new_height = wanted.resize, wanted.resize
            if not wanted.square:
                new_width = wanted.resize * width // short
                new_height = wanted.resize * height // short
            if new_width * new_height > MAX_RESIZED_PIXELS:
                return _resize_middle(picture, (new_width, new_height), wanted.size, resample)
            if (new_width, new_height) != picture.size:
                picture = picture.resize((new_width, new_height), resample, box)
            width, height = new_width, new_height
        left, top = (width - wanted.size) // 2, (height - wanted.size) // 2
        if (width, height) == (wanted.size, wanted.size):
            return picture
        return picture.crop((left, top, left + wanted.size, top + wanted.size))


def _opened(content: bytes, kind: str) -> Image.Image:
    """The file with its header read. Raises whatever the plugin of this format raises.

    `Image.open` does the same, and first applies Pillow's own limit on pixels, which is one for the whole
    process and belongs to whoever owns that. Ours is checked between the header and the decoder.
    """
    Image.preinit()
    if kind not in Image.OPEN:
        Image.init()
    if kind == "HEIF":
        register_heif()
    make, _ = Image.OPEN[kind]
    return make(io.BytesIO(content), "")


def _resize_middle(
    picture: Image.Image, resized: tuple[int, int], size: int, resample: Image.Resampling
) -> Image.Image:
    """The middle size × size pixels of the picture as if it were resized to `resized`."""
    box: list[float] = []
    for edge, new in zip(picture.size, resized, strict=True):
        start, scale = (new - size) // 2, edge / new
        box += [max(0.0, start * scale), min(float(edge), (start + size) * scale)]
    return picture.resize((size, size), resample, box=(box[0], box[2], box[1], box[3]))
