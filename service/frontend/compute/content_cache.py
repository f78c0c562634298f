"""The cache of computed contents: what the model made of a text or an image before.

A content is known by its hash, and nothing that a caller sent is kept. The result depends on the weights as
well, so they stand in the key. The encoder's own row is kept, before normalising and encoding: every answer
that is made of it is the same to the bit.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from service.frontend.api.messages import Matrix
from service.frontend.compute.lru import Lru
from worker.runtime.notices import Modality

__all__ = ["ContentCache", "ContentKey", "Row", "digest"]

_OVERHEAD = 600
"""About how many bytes the Python objects around a row take."""


class ContentKey(NamedTuple):
    """model, revision: the weights. variant: of prompt states, or 1 for an image that is turned upright.
    digest: of the text or the image's file."""

    model: str
    revision: str
    modality: Modality
    variant: int
    digest: bytes


class Row(NamedTuple):
    """value: as `Outcome.value`. tokens, truncated: of a text; 0 and False of an image. size: an image's own
    width and height in pixels; zeros of a text."""

    value: Matrix
    tokens: int
    truncated: bool
    size: tuple[int, int] = (0, 0)


class ContentCache(Lru[ContentKey, Row]):
    """Rows by content, of all models of a frontend."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, lambda _, row: row.value.nbytes + _OVERHEAD)


def digest(content: str | bytes) -> bytes:
    """The BLAKE2b hash of a content, 32 bytes. Nobody can make two contents with the same hash."""
    # A text that is no valid Unicode is hashed like any other: the tokenizer decides what it means.
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(raw, digest_size=32).digest()
