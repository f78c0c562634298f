"""The rules for what a request may hold. Each error names the path of the field that breaks a rule. Pure.

A path is written as in the public API: "texts[3]", "images[2].content", "queries[1].vector".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from service.frontend.api.errors import ImageTooLarge, InvalidRequest, TextTooLong, Violation
from service.frontend.api.messages import Image, Item, Matrix
from service.frontend.api.vectors import lengths, normalized
from worker.spec import ALL_LANGUAGES

if TYPE_CHECKING:
    from service.config.settings import Settings

__all__ = [
    "MAX_ID_BYTES",
    "Limits",
    "at_most",
    "choice",
    "count",
    "image_size",
    "item",
    "language",
    "picture",
    "pictures",
    "stream_id",
    "templates",
    "text",
    "texts",
    "too_long",
    "too_many_tokens",
    "utf8_length",
    "vectors",
]

MAX_ID_BYTES = 256
PLACEHOLDER = "{}"

Chosen = TypeVar("Chosen", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request for one model; `GetModel` tells them to callers."""

    max_texts: int
    max_images: int
    max_items: int
    max_labels: int
    max_templates: int
    max_prompts: int
    max_stream_items: int
    max_text_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_message_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The settings of the same names."""
        return cls(**{field.name: int(getattr(settings, field.name)) for field in fields(cls)})


def count(path: str, number: int, most: int) -> None:
    """Checks a list of 1 to `most` elements."""
    if number == 0:
        raise InvalidRequest.at(path, "must not be empty")
    at_most(path, number, most)


def at_most(path: str, number: int, most: int) -> None:
    """Checks a list of up to `most` elements."""
    if number > most:
        raise InvalidRequest.at(path, f"holds {number} elements; at most {most} are accepted")


def choice(path: str, value: int, kinds: type[Chosen], default: Chosen) -> Chosen:
    """The enum's member. 0 (unspecified) is the default; a number without a member is refused."""
    if value == 0:
        return default
    try:
        return kinds(value)
    except ValueError:
        raise InvalidRequest.at(path, f"{value} is not one of its values") from None


def texts(path: str, values: Sequence[str], most_bytes: int) -> None:
    """Checks that each text is within the byte limit. "" is a text, too. path: without the index."""
    for index, value in enumerate(values):
        if len(value) * 4 > most_bytes:
            text(f"{path}[{index}]", value, most_bytes)


def text(path: str, value: str, most_bytes: int) -> None:
    """Checks that a text is within the byte limit."""
    if len(value) * 4 > most_bytes and utf8_length(value) > most_bytes:
        raise too_long(path, most_bytes)


def utf8_length(value: str) -> int:
    """The bytes of a text in UTF-8. No copy is made of an ASCII string."""
    return len(value) if value.isascii() else len(value.encode())


def too_long(path: str, most_bytes: int) -> TextTooLong:
    """The error of a text over the byte limit."""
    return TextTooLong.at(path, f"is longer than {most_bytes} bytes of UTF-8")


def too_many_tokens(path: str, most_tokens: int) -> TextTooLong:
    """The error of a text over the token limit, where the caller refused truncation."""
    return TextTooLong.at(path, f"is longer than {most_tokens} tokens, and truncation was refused")


def pictures(path: str, images: Sequence[Image], limits: Limits) -> None:
    """Checks the number of pictures, and each of them. path: without the index."""
    count(path, len(images), limits.max_images)
    for index, image in enumerate(images):
        picture(f"{path}[{index}]", image, limits)


def picture(path: str, image: Image, limits: Limits) -> None:
    """Checks that a picture is given in one way, and that its file is not too large."""
    if image.content is not None:
        image_size(f"{path}.content", len(image.content), limits.max_image_bytes)
    elif image.uri is None:
        raise InvalidRequest.at(path, "set content or uri")


def image_size(path: str, size: int, most: int) -> None:
    """Checks that an image file is within the byte limit."""
    if size > most:
        raise ImageTooLarge.at(path, f"holds {size} bytes; at most {most} are accepted")


def item(path: str, value: Item, limits: Limits) -> None:
    """Checks one side of a comparison, apart from its vector (see `vectors`)."""
    if value.text is not None:
        text(f"{path}.text", value.text, limits.max_text_bytes)
    elif value.image is not None:
        picture(f"{path}.image", value.image, limits)
    elif value.vector is None:
        raise InvalidRequest.at(path, "set text, image or vector")


def vectors(paths: Sequence[str], values: Sequence[bytes], dimension: int) -> Matrix:
    """Little-endian float32 vectors as rows of length 1, float32 [n, dimension].

    Raises InvalidRequest for another width, NaN, infinity, or a vector of zeros.
    """
    for path, value in zip(paths, values, strict=True):
        if len(value) != 4 * dimension:
            raise InvalidRequest.at(
                path, f"holds {len(value)} bytes; {dimension} float32 values are {4 * dimension}"
            )
    rows = np.frombuffer(b"".join(values), "<f4").reshape(len(values), dimension).astype(np.float32)
    size = lengths(rows)
    for index in np.flatnonzero(~(np.isfinite(size) & (size > 0.0))):
        wrong = "is a vector of zeros" if size[index] == 0.0 else "holds a value that is not finite"
        raise InvalidRequest.at(paths[int(index)], wrong)
    return normalized(rows, size)


def language(value: str) -> str:
    """One of the nine languages; English for ""."""
    if value and value not in ALL_LANGUAGES:
        raise InvalidRequest.at("language", f"is not one of {' '.join(ALL_LANGUAGES)}")
    return value or "en"


def templates(values: Sequence[str], limits: Limits) -> None:
    """Checks the caller's own templates: each has exactly one `{}` for the label."""
    at_most("templates", len(values), limits.max_templates)
    texts("templates", values, limits.max_text_bytes)
    wrong = [
        Violation(f"templates[{index}]", "must hold exactly one {}")
        for index, value in enumerate(values)
        if value.count(PLACEHOLDER) != 1
    ][:8]
    if wrong:
        raise InvalidRequest(f"{wrong[0].path}: {wrong[0].description}", violations=wrong)


def stream_id(value: str) -> None:
    """Checks the caller's name for an item of a stream."""
    if len(value) * 4 > MAX_ID_BYTES and utf8_length(value) > MAX_ID_BYTES:
        raise InvalidRequest.at("id", f"is longer than {MAX_ID_BYTES} bytes of UTF-8")
