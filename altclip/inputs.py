"""What a caller hands in, as messages: texts, pictures, items of a comparison, and the words for enum values.

Nothing is guessed. A `str` is always a text, never the name of a file; a file is a `pathlib.Path` or an open
file, its content is `bytes`, an address is a `Uri`. Of an array the dtype and the dimensions decide: uint8 in
two or more dimensions is pixels, and in a comparison everything else is embeddings.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from altclip.errors import InvalidArgument, UnreadableInput
from altclip.images import arrays, files, pillow
from altclip.v1 import embedding_service_pb2 as pb

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Encoding = Literal["float32", "float16", "int8", "binary"]
Truncation = Literal["truncate", "reject"]
Orientation = Literal["as_stored", "upright"]
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
ORIENTATIONS: dict[Orientation, pb.Orientation.ValueType] = {
    "as_stored": pb.ORIENTATION_AS_STORED,
    "upright": pb.ORIENTATION_UPRIGHT,
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
    """The address of a picture: a `data:` URI, or `https://…` where the server's operator allows it.

    >>> page = base64.b64encode(Path("cat.png").read_bytes()).decode()
    >>> client.embed_image(Uri(f"data:image/png;base64,{page}")).vectors.shape
    (1, 192)
    """

    address: str


Pixels: TypeAlias = "PilImage | npt.NDArray[np.uint8]"

ImageSource: TypeAlias = "bytes | bytearray | memoryview | os.PathLike[str] | files.BinaryFile | Uri | Pixels"
"""A picture: the bytes of a file, a `pathlib.Path`, a file that is open for reading bytes (read from where it
stands), a `Uri`, or pixels, sent losslessly as PNG: a Pillow image, or a numpy array of uint8 of the shape
[height, width], [height, width, 3] (RGB) or [height, width, 4] (RGBA).

>>> path = Path("cat.png")
>>> with path.open("rb") as file:
...     sources: list[ImageSource] = [path, path.read_bytes(), file]
...     vectors = client.embed_image(sources).vectors
>>> bool((vectors == vectors[0]).all())
True
"""

ItemSource: TypeAlias = "str | ImageSource | npt.NDArray[np.floating[Any]]"
"""One side of a comparison: a text, a picture, or an embedding made earlier (one-dimensional).

>>> sides: list[ItemSource] = ["a cat", Path("cat.png"), client.embed_text("a cat").vectors[0]]
>>> client.similarity(sides, "a cat").scores.round(3)[[0, 2]]
array([[1.],
       [1.]], dtype=float32)
"""

Word = TypeVar("Word", bound=str)
Value = TypeVar("Value")


def choose(table: Mapping[Word, Value], word: Word, field: str) -> Value:
    """The enum value that a word stands for. Raises InvalidArgument that lists the words."""
    if word not in table:
        raise InvalidArgument.at(field, f"{word!r:.60} is none of {', '.join(table)}")
    return table[word]


def text_of(text: Any, field: str) -> str:
    """A text that can be sent. Raises TypeError for what is no `str`, InvalidArgument for lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"{field}: a text is a str, not {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            hint = ", as from bytes that are not UTF-8" if 0xDC80 <= code <= 0xDCFF else ""
            raise InvalidArgument.at(
                field, f"not valid Unicode: a lone surrogate U+{code:04X} at character {error.start}{hint}"
            ) from None
    return text


def texts_of(texts: str | Iterable[Any], field: str) -> list[str]:
    """One text or several, as a list. Raises as `text_of` does, with the index of the text."""
    return [text_of(text, f"{field}[{index}]") for index, text in enumerate(_several(texts, field))]


def count_of(number: int, field: str) -> int:
    """A number of things. Raises InvalidArgument where it is none."""
    try:
        count = operator.index(number)
    except TypeError:
        raise InvalidArgument.at(field, f"give a whole number, not {number!r:.60}") from None
    if not 0 <= count < 1 << 31:
        raise InvalidArgument.at(field, f"give a number from 0 on, not {count}")
    return count


def images_of(
    images: ImageSource | Iterable[ImageSource], field: str, orientation: Orientation
) -> list[pb.Image]:
    """One picture or several as messages; files are read. Raises as `image_of` does, with the index."""
    given = enumerate(_several(images, field))
    return [image_of(image, f"{field}[{index}]", orientation) for index, image in given]


def image_of(source: Any, field: str, orientation: Orientation) -> pb.Image:
    """A picture as a message; a file is read. The server turns files upright; a Pillow image is turned here,
    for its EXIF data is not sent.

    Raises OSError for a file that cannot be read, UnreadableInput for a Pillow image without readable pixels
    and a file that is closed or at its end, InvalidArgument for an array that is no picture, TypeError for
    what is none of these.
    """
    if isinstance(source, bytes):
        return pb.Image(content=source)
    if isinstance(source, bytearray | memoryview):
        return pb.Image(content=bytes(source))
    if isinstance(source, Uri):
        return pb.Image(uri=text_of(source.address, field))
    if isinstance(source, os.PathLike):
        try:
            return pb.Image(content=Path(source).read_bytes())
        except ValueError as error:  # a name that no file can have
            raise UnreadableInput.at(field, f"{source!r:.200}: {error}") from error
    if isinstance(source, np.ndarray):
        return pb.Image(content=arrays.png_of(source, field))
    if pillow.is_pillow(source):
        try:
            return pb.Image(content=pillow.png_of(source, upright=orientation == "upright"))
        except Exception as error:  # Pillow raises many kinds for images that are damaged or closed
            raise UnreadableInput.at(field, f"Pillow cannot read the image: {error}") from error
    if files.is_file(source):
        return pb.Image(content=files.bytes_of(source, field))
    hint = "; a file name is a pathlib.Path, an address a Uri" if isinstance(source, str) else ""
    known = "bytes, a pathlib.Path, an open file, a Uri, a Pillow image or a numpy array"
    raise TypeError(f"{field}: a picture is {known}, not {type(source).__name__}{hint}")


def item_of(source: Any, field: str, orientation: Orientation) -> pb.Item:
    """One side of a comparison as a message. Raises as `image_of` does, and InvalidArgument for an array that
    is neither an embedding nor pixels."""
    if isinstance(source, str):
        return pb.Item(text=text_of(source, field))
    if isinstance(source, np.ndarray) and not _is_pixels(source):
        if source.ndim != 1:
            what = f"an embedding has one dimension, not {source.ndim}; give the rows of a matrix one by one"
            raise InvalidArgument.at(field, f"{what}, and pixels as uint8")
        if source.dtype.kind not in "fiu":
            raise InvalidArgument.at(field, f"an embedding holds numbers, not {source.dtype}")
        return pb.Item(vector=source.astype("<f4").tobytes())
    return pb.Item(image=image_of(source, field, orientation))


def items_of(
    sources: ItemSource | Iterable[ItemSource], field: str, orientation: Orientation
) -> list[pb.Item]:
    """One item or several as messages; the rows of a matrix are items, unless it is one of pixels. Raises as
    `item_of` does."""
    given = enumerate(_several(sources, field))
    return [item_of(source, f"{field}[{index}]", orientation) for index, source in given]


def embedding_options(
    encoding: Encoding,
    normalize: bool,
    truncation: Truncation = "truncate",
    orientation: Orientation = "as_stored",
) -> pb.EmbeddingOptions:
    """How embeddings are wanted. Raises InvalidArgument for an unknown word."""
    return pb.EmbeddingOptions(
        encoding=choose(ENCODINGS, encoding, "encoding"),
        normalize=normalize,
        truncation=choose(TRUNCATIONS, truncation, "truncation"),
        orientation=choose(ORIENTATIONS, orientation, "orientation"),
    )


def _several(given: Any, field: str) -> Iterable[Any]:
    """What was given; in a list where it is one thing. Raises TypeError."""
    if isinstance(given, str | bytes | bytearray | memoryview | os.PathLike | Uri) or pillow.is_pillow(given):
        return [given]
    if isinstance(given, np.ndarray):
        return [given] if given.ndim < 2 or _is_pixels(given) else given
    if files.is_file(given):  # which is iterable, too, by lines
        return [given]
    if not isinstance(given, Iterable):
        raise TypeError(f"{field}: give one or several, not {type(given).__name__}")
    return given


def _is_pixels(array: npt.NDArray[Any]) -> bool:
    """Whether an array is one image, of a shape that is sent or not; four dimensions are several images."""
    return array.dtype == np.uint8 and array.ndim in (2, 3)
