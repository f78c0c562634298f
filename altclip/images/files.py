"""An open file as the bytes that are left in it."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, TypeGuard

from altclip.errors import UnreadableInput


class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as `open(path, "rb")` or `io.BytesIO`."""

    def read(self) -> bytes:
        """All bytes from where the file stands to its end."""


def is_file(source: object) -> TypeGuard[BinaryFile]:
    """Whether this can be read as a file, in whatever mode."""
    return not isinstance(source, type) and callable(getattr(source, "read", None))


def bytes_of(file: BinaryFile, field: str) -> bytes:
    """What is left in a file, from where it stands. The file stays open.

    Raises OSError where it cannot be read, UnreadableInput for one that is closed or at its end, TypeError
    for one whose `read` gives no bytes.
    """
    try:
        content: Any = file.read()
    except ValueError as error:  # closed, or not open for reading
        raise UnreadableInput.at(field, f"the file cannot be read: {error}") from error
    if isinstance(content, str):
        raise TypeError(f'{field}: the file is open for text; open it with mode "rb"')
    if inspect.iscoroutine(content):
        content.close()
        raise TypeError(f"{field}: the file must be awaited; give `await file.read()`")
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"{field}: read() of the file gave {type(content).__name__}, not bytes")
    if not content:
        raise UnreadableInput.at(field, "nothing is left to read in the file: file.seek(0) goes back")
    return bytes(content)
