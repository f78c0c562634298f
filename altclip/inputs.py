"""What a caller hands in, as messages: texts, pictures, items of a comparison, and the words for enum values.

Nothing is guessed. A `str` is always a text, never the name of a file; a file is a `pathlib.Path`, its
content is `bytes`, an address is a `Uri`. Imports only the stubs.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

from altclip.v1 import embedding_service_pb2 as pb

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Encoding = Literal["float32", "float16", "int8", "binary"]
Truncation = Literal["truncate", "reject"]
Score = Literal["cosine", "logit", "probability"]
Priority = Literal["default", "interactive", "bulk"]
States = Literal["altdiffusion", "altclip"]

ENCODINGS: dict[Encoding, pb.Encoding.ValueType] = {
    "float32": pb.ENCODING_FLOAT32,
    "float16": pb.ENCODING_FLOAT16,
    "int8": pb.ENCODING_INT8,
    "binary": pb.ENCODING_BINARY,
}
TRUNCATIONS: dict[Truncation, pb.Truncation.ValueType] = {
    "truncate": pb.TRUNCATION_TRUNCATE,
    "reject": pb.TRUNCATION_REJECT,
}
SCORES: dict[Score, pb.Score.ValueType] = {
    "cosine": pb.SCORE_COSINE,
    "logit": pb.SCORE_LOGIT,
    "probability": pb.SCORE_PROBABILITY,
}
PRIORITIES: dict[Priority, pb.Priority.ValueType] = {
    "default": pb.PRIORITY_UNSPECIFIED,
    "interactive": pb.PRIORITY_INTERACTIVE,
    "bulk": pb.PRIORITY_BULK,
}
STATES: dict[States, pb.PromptStates.ValueType] = {
    "altdiffusion": pb.PROMPT_STATES_ALTDIFFUSION,
    "altclip": pb.PROMPT_STATES_ALTCLIP,
}


@dataclass(frozen=True, slots=True)
class Uri:
    """The address of a picture: a `data:` URI, or `https://…` where the server's operator allows it."""

    address: str


ImageSource: TypeAlias = "bytes | bytearray | memoryview | os.PathLike[str] | Uri | PilImage"
"""A picture: the bytes of a file, a `pathlib.Path`, a `Uri`, or a Pillow image (sent losslessly as PNG)."""

ItemSource: TypeAlias = "str | ImageSource | npt.NDArray[np.floating[Any]]"
"""One side of a comparison: a text, a picture, or an embedding made earlier (one-dimensional)."""

Word = TypeVar("Word", bound=str)
Value = TypeVar("Value")


def choose(table: Mapping[Word, Value], word: Word) -> Value:
    """The enum value that a word stands for. Raises ValueError that lists the words."""
    try:
        return table[word]
    except KeyError:
        raise ValueError(f"{word!r} is none of {', '.join(table)}") from None


def texts_of(texts: str | Iterable[Any]) -> list[str]:
    """One text or several, as a list. Raises TypeError for what is no text."""
    found = [texts] if isinstance(texts, str) else list(texts)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not {type(text).__name__}")
    return found


def images_of(images: ImageSource | Iterable[ImageSource]) -> list[pb.Image]:
    """One picture or several as messages; files are read. Raises as `image_of` does."""
    return [image_of(image) for image in _several(images)]


def image_of(source: Any) -> pb.Image:
    """A picture as a message; a file is read. Raises OSError, and TypeError for what is no picture."""
    if isinstance(source, bytes):
        return pb.Image(content=source)
    if isinstance(source, bytearray | memoryview):
        return pb.Image(content=bytes(source))
    if isinstance(source, Uri):
        return pb.Image(uri=source.address)
    if isinstance(source, os.PathLike):
        return pb.Image(content=Path(source).read_bytes())
    if _is_pillow(source):
        return pb.Image(content=_png(source))
    hint = "; a file name is a pathlib.Path, an address a Uri" if isinstance(source, str) else ""
    raise TypeError(
        f"a picture is bytes, a pathlib.Path, a Uri or a Pillow image, not {type(source).__name__}{hint}"
    )


def item_of(source: Any) -> pb.Item:
    """One side of a comparison as a message. Raises OSError, and TypeError or ValueError for what is none."""
    if isinstance(source, str):
        return pb.Item(text=source)
    if isinstance(source, np.ndarray):
        if source.ndim != 1:
            raise ValueError(
                f"an embedding has one dimension, not {source.ndim}; give the rows of a matrix one by one"
            )
        return pb.Item(vector=source.astype("<f4").tobytes())
    return pb.Item(image=image_of(source))


def items_of(sources: ItemSource | Iterable[ItemSource]) -> list[pb.Item]:
    """One item or several as messages; the rows of a matrix are items. Raises as `item_of` does."""
    return [item_of(source) for source in _several(sources)]


def embedding_options(encoding: Encoding, normalize: bool, truncation: Truncation) -> pb.EmbeddingOptions:
    """How embeddings are wanted. Raises ValueError for an unknown word."""
    return pb.EmbeddingOptions(
        encoding=choose(ENCODINGS, encoding), normalize=normalize, truncation=choose(TRUNCATIONS, truncation)
    )


def _several(given: Any) -> Iterable[Any]:
    """What was given, in a list where it is one thing."""
    single = isinstance(given, str | bytes | bytearray | memoryview | os.PathLike | Uri) or _is_pillow(given)
    return [given] if single or (isinstance(given, np.ndarray) and given.ndim == 1) else given


def _is_pillow(source: object) -> TypeGuard[PilImage]:
    # Whoever hands in a Pillow image has imported Pillow; this package does without.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def _png(image: PilImage) -> bytes:
    written = io.BytesIO()
    lossless = image if image.mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else image.convert("RGB")
    lossless.save(written, "PNG", compress_level=1)
    return written.getvalue()
