"""How a picture is to be turned so that it is seen upright, by its EXIF data. Imports Pillow."""

from __future__ import annotations

from PIL import Image

__all__ = ["Box", "orientation_of", "turned"]

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge."""

_TAG = 0x0112
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """EXIF's number, from 1 (as it is) to 8, of a loaded picture; 1 where its EXIF data cannot be read."""
    try:
        value = image.getexif().get(_TAG, 1)
        return int(value) if value in _METHODS else 1
    except (
        Exception
    ):  # Pillow raises nearly everything over damaged data; viewers show such a picture as it is
        return 1


def turned(picture: Image.Image, box: Box, orientation: int) -> tuple[Image.Image, Box]:
    """The picture turned, and where that part of it is then that the box enclosed."""
    if orientation not in _METHODS:
        return picture, box
    left, upper, right, lower = box
    if orientation >= 5:  # the axes change places; 6 and 8 are that and a reflection
        left, upper, right, lower = upper, left, lower, right
    result = picture.transpose(_METHODS[orientation])
    width, height = result.size
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        upper, lower = height - lower, height - upper
    return result, (left, upper, right, lower)
