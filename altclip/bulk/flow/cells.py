"""A cell of an embedded column as what a stream takes: a text, an image's bytes, its file or its address."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from altclip.bulk.blocks import Block
from altclip.bulk.columns import Embedded
from altclip.bulk.sources.locations import Location, Remote, one_line
from altclip.errors import AltClipError, InvalidImage, InvalidRequest, TextTooLong, UnreadableInput
from altclip.inputs import Uri
from altclip.printing import legible
from altclip.results import Limits

if TYPE_CHECKING:
    import pyarrow as pa

Content = str | bytes | Uri | AltClipError

SCHEMES = ("http://", "https://", "data:")

LONGEST_PATH = 4096
"""Bytes. Linux takes no longer one, and stores of objects take less."""

SHOWN_PATH, SHOWN_MESSAGE = 200, 1000
"""Characters of a path in a message, and of a message in the errors table. All of a part are in memory until
it is written."""


def content_of(block: Block, row: int, column: Embedded, base: Location, limits: Limits) -> Content:
    """What is sent for a cell; an error in its place says why it cannot be."""
    if told := block.unreadable.get(block.first + row):
        return UnreadableInput(told, reason=UnreadableInput.reason_here)
    value = _plain(block.batch.column(block.batch.schema.get_field_index(column.name))[row])
    if not value.is_valid:
        return _invalid(f"the cell of column {column.name!r} is null, or holds no text")
    try:
        if column.is_text:
            return _text(value, column.name, limits)
        return _image(value, column.name, base, limits)
    except UnicodeDecodeError as error:
        return _invalid(f"the cell of column {column.name!r} is not UTF-8: {error.reason}")


def _text(value: pa.Scalar, column: str, limits: Limits) -> Content:
    size = _size(value)
    if limits.max_text_bytes and size > limits.max_text_bytes:
        what = f"{size:,} bytes, and the service takes {limits.max_text_bytes:,}"
        return TextTooLong(f"the cell of column {column!r} has {what}", reason="TEXT_TOO_LONG")
    return str(value.as_py())


def _image(value: pa.Scalar, column: str, base: Location, limits: Limits) -> Content:
    import pyarrow as pa

    if pa.types.is_struct(value.type):
        for name in ("bytes", "path"):
            if name in value.type.names and (part := _plain(value[name])).is_valid:
                return _image(part, column, base, limits)
        return _invalid(f"the cell of column {column!r} has neither bytes nor a path")
    size = _size(value)
    kind = value.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _too_large(size, limits) or bytes(value.as_py())
    if size > max(limits.max_image_bytes * 2, 1 << 16):  # an address with the image in it, or no address
        return _too_large(size, limits) or _invalid(f"the cell of column {column!r} has {size:,} bytes")
    text = str(value.as_py())
    if not text.strip():
        return _invalid(f"the cell of column {column!r} is empty")
    if text.startswith(SCHEMES):
        return Uri(text)
    if size > LONGEST_PATH:
        return _invalid(
            f"the cell of column {column!r} has {size:,} bytes, and is neither a path nor an address"
        )
    return _file(base / text, limits)


def _file(path: Location, limits: Limits) -> Content:
    try:
        if isinstance(path, Remote):
            return _too_large(path.size(), limits) or path.read_bytes()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for whoever writes to it
            return _unreadable(path, "not a file")
        return _too_large(status.st_size, limits) or path.read_bytes()
    except Exception as error:
        if isinstance(path, Path) and not isinstance(error, OSError | ValueError):
            raise
        told = error.strerror if isinstance(error, OSError) else None
        return _unreadable(path, told or one_line(error))


def _unreadable(path: Location, what: str) -> UnreadableInput:
    return UnreadableInput(f"{_cut(str(path), SHOWN_PATH)}: {what}", reason=UnreadableInput.reason_here)


def _too_large(size: int, limits: Limits) -> AltClipError | None:
    if limits.max_image_bytes and size > limits.max_image_bytes:
        what = f"the image has {size:,} bytes, and the service takes {limits.max_image_bytes:,}"
        return InvalidImage(what, reason="IMAGE_TOO_LARGE")
    return None


def _size(value: pa.Scalar) -> int:
    """The bytes of a string or binary cell, without a copy of them."""
    buffer = value.as_buffer()
    return 0 if buffer is None else int(buffer.size)


def _plain(value: pa.Scalar) -> pa.Scalar:
    """The cell itself where a dictionary holds it."""
    import pyarrow as pa

    return value.value if isinstance(value, pa.DictionaryScalar) and value.is_valid else value


def _cut(text: str, most: int) -> str:
    """A text without its middle where it has more characters: both ends of a path say something."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason=InvalidRequest.reason_here)


def reason_and_message(error: AltClipError, column: Embedded) -> tuple[str, str]:
    """What the errors table says of a cell that failed: Unicode, of a bounded length."""
    reason = error.reason or error.code.name
    table: Mapping[str, str] = {
        "MESSAGE_TOO_LARGE": "TEXT_TOO_LONG" if column.is_text else "IMAGE_TOO_LARGE",
    }
    return table.get(reason, reason), legible(_cut(error.message, SHOWN_MESSAGE), "utf-8")
