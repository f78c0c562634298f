"""The operator's files that frontends need, on their way from the supervisor as bytes, and what they hold.

    file ─ supervisor/file_watch ─▶ nameless memory, by descriptor ─▶ every frontend ─▶ Keyring, Certificate

One reader, so that all frontends agree, and so that a frontend that starts while a file is damaged gets what
was good before. No grpc, no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.config import keys
from service.config.certificates import Certificate
from service.config.settings import Settings
from worker.runtime import memory

__all__ = [
    "API_KEYS",
    "TLS",
    "as_descriptor",
    "certificate",
    "from_descriptor",
    "keyring",
]

API_KEYS = "api_keys"
TLS = "tls"


def keyring(settings: Settings, content: Mapping[str, bytes]) -> keys.Keyring | None:
    """The keys of callers; None where the server asks for none. Raises KeyError if they are missing."""
    if not settings.wants_keys:
        return None
    return keys.Keyring(keys.parse(content[API_KEYS].decode()))


def certificate(settings: Settings, content: Mapping[str, bytes]) -> Certificate | None:
    """The certificate; None where the server does not encrypt. Raises KeyError while it is missing."""
    return Certificate.from_bytes(content[TLS]) if settings.tls_certificate else None


@contextmanager
def as_descriptor(content: bytes) -> Iterator[int]:
    """A descriptor of memory with this content, open for as long as the block lasts."""
    descriptor = memory.create("altclip-file", max(1, len(content)))
    try:
        os.pwrite(descriptor, content, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def from_descriptor(descriptor: int, size: int) -> bytes:
    """The content behind the descriptor, which is closed."""
    try:
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
