"""Which contents are the same, and what was computed of them before.

A content is known by its hash: nothing of what a caller sent is kept, only what the model made of it. That
depends on the weights as well, so they stand in the key. What is kept is the encoder's own row, before
normalising and encoding: every answer that could be made of it is the same to the bit.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from service.frontend.api.messages import Matrix
from service.frontend.compute.lru import Lru
from worker.runtime.notices import Modality

__all__ = ["ContentCache", "ContentKey", "Row", "digest"]

_OVERHEAD = 600
"""Bytes of Python objects around a row, about."""


class ContentKey(NamedTuple):
    """model, revision: the weights. variant: of prompt states. digest: of the text or the image's file."""

    model: str
    revision: str
    modality: Modality
    variant: int
    digest: bytes


class Row(NamedTuple):
    """value: as `Outcome.value`. tokens, truncated: of a text; 0 and False of an image."""

    value: Matrix
    tokens: int
    truncated: bool


class ContentCache(Lru[ContentKey, Row]):
    """Rows by content, of all models of a frontend."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, lambda _, row: row.value.nbytes + _OVERHEAD)


def digest(content: str | bytes) -> bytes:
    """32 bytes; two contents with the same ones cannot be made."""
    # A text that is no valid Unicode is a text like any other: what becomes of it is the tokenizer's matter.
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(raw, digest_size=32).digest()
