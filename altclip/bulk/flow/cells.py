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
from altclip.results import Limits

if TYPE_CHECKING:
    import pyarrow as pa

Content = str | bytes | Uri | AltClipError

SCHEMES = ("http://", "https://", "data:")


def content_of(block: Block, row: int, column: Embedded, base: Location, limits: Limits) -> Content:
    """What is sent for a cell; an error in its place says why it cannot be."""
    if told := block.unreadable.get(block.first + row):
        return UnreadableInput(told, reason=UnreadableInput.reason_here)
    value = block.batch.column(block.batch.schema.get_field_index(column.name))[row]
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
            if name in value.type.names and value[name].is_valid:
                return _image(value[name], column, base, limits)
        return _invalid(f"the cell of column {column!r} has neither bytes nor a path")
    size = _size(value)
    if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
        return _too_large(size, limits) or bytes(value.as_py())
    if size > max(limits.max_image_bytes * 2, 1 << 16):  # an address with the image in it, or no address
        return _too_large(size, limits) or _invalid(f"the cell of column {column!r} has {size:,} bytes")
    text = str(value.as_py())
    if not text.strip():
        return _invalid(f"the cell of column {column!r} is empty")
    if text.startswith(SCHEMES):
        return Uri(text)
    return _file(base / text, limits)


def _file(path: Location, limits: Limits) -> Content:
    try:
        if isinstance(path, Remote):
            return _too_large(path.size(), limits) or path.read_bytes()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for whoever writes to it
            return UnreadableInput(f"{path}: not a file", reason=UnreadableInput.reason_here)
        return _too_large(status.st_size, limits) or path.read_bytes()
    except Exception as error:
        if isinstance(path, Path) and not isinstance(error, OSError | ValueError):
            raise
        told = error.strerror if isinstance(error, OSError) else None
        return UnreadableInput(f"{path}: {told or one_line(error)}", reason=UnreadableInput.reason_here)


def _too_large(size: int, limits: Limits) -> AltClipError | None:
    if limits.max_image_bytes and size > limits.max_image_bytes:
        what = f"the image has {size:,} bytes, and the service takes {limits.max_image_bytes:,}"
        return InvalidImage(what, reason="IMAGE_TOO_LARGE")
    return None


def _size(value: pa.Scalar) -> int:
    """The bytes of a string or binary cell, without a copy of them."""
    import pyarrow as pa

    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    buffer = value.as_buffer()
    return 0 if buffer is None else int(buffer.size)


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason=InvalidRequest.reason_here)


def reason_and_message(error: AltClipError, column: Embedded) -> tuple[str, str]:
    """What the errors table says of a cell that failed."""
    reason = error.reason or error.code.name
    table: Mapping[str, str] = {
        "MESSAGE_TOO_LARGE": "TEXT_TOO_LONG" if column.is_text else "IMAGE_TOO_LARGE",
    }
    return table.get(reason, reason), error.message
