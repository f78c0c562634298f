"""API keys as an operator writes them down: one line each, the key itself only as its hash. Pure.

    # name    hash of the key        what it may (all of it optional)
    search    sha256:9f86d081884c…   requests=20/s items=500/s concurrency=8 models=m9,tiny

`altclip-server key NAME` makes a key and its line. A name may stand on several lines with the same limits, so
that a caller can change its key without a pause. For environment variables a semicolon ends a key, too; a
comment reaches to the real end of its line, whatever stands in it. Keys are 256 random bits, so that a plain
SHA-256 suffices: there is nothing to guess. Imports the standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["PREFIX", "Key", "KeyFileError", "Keyring", "Quota", "line_of", "make_key", "parse"]

PREFIX = "altclip_"
"""What scanners for leaked secrets may look for."""
LONGEST_KEY = 512
RESERVED = frozenset({"anonymous", "other"})
"""Label values of the metrics."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NAMES = "is made of letters, digits and . _ @ -, at most 64 of them, and is neither anonymous nor other"
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|m|h)")
_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}


class KeyFileError(ValueError):
    """Expected: a line that cannot be used. Its text names the line's number, and never shows its content."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the calls under one name may use together.

    requests, items: per second, None without a limit. concurrency: calls. models: None means all.
    """

    requests: float | None = None
    items: float | None = None
    concurrency: int | None = None
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file. digest: the SHA-256 of the key."""

    name: str
    digest: bytes = field(repr=False)
    quota: Quota = Quota()


class Keyring:
    """All keys that are valid now."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        # Keys are looked up by a keyed hash, so that the time of a lookup tells nothing about them.
        self._secret = secrets.token_bytes(32)
        self._keys = {self._blind(key.digest): key for key in keys}
        self.quotas = {key.name: key.quota for key in keys}

    def find(self, given: str) -> Key | None:
        """The line of this key; None for a key that is not in the file."""
        raw = given.encode("utf-8", "replace")
        if not raw or len(raw) > LONGEST_KEY:
            return None
        digest = hashlib.sha256(raw).digest()
        key = self._keys.get(self._blind(digest))
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def holds(self, key: Key) -> bool:
        """Whether it is still valid, whatever its quota is by now."""
        found = self._keys.get(self._blind(key.digest))
        return found is not None and found.name == key.name

    def _blind(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret, digest, "sha256")


def parse(text: str) -> tuple[Key, ...]:
    """Every key of a file's text; at least one. Raises KeyFileError for the first line that is wrong."""
    keys: dict[bytes, Key] = {}
    quotas: dict[str, Quota] = {}
    for place, words in _entries(text):
        try:
            key = _key(words)
            if key.digest in keys:
                raise KeyFileError("the same key stands above")
            if quotas.setdefault(key.name, key.quota) != key.quota:
                raise KeyFileError("the name stands above with other limits")
        except KeyFileError as error:
            raise KeyFileError(f"{place}: {error}") from None
        keys[key.digest] = key
    if not keys:
        raise KeyFileError("holds no key")
    return tuple(keys.values())


def make_key(name: str, words: tuple[str, ...] = ()) -> tuple[str, str]:
    """A new key and its line. words: limits as they stand in a file. Raises KeyFileError."""
    key = PREFIX + secrets.token_urlsafe(32)
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise KeyFileError(f"a name {_NAMES}")
    line = line_of(name, key, words)
    _key(line.split())
    return key, line


def line_of(name: str, key: str, words: tuple[str, ...] = ()) -> str:
    """The line of this key."""
    return " ".join((name, "sha256:" + hashlib.sha256(key.encode()).hexdigest(), *words))


def _entries(text: str) -> Iterator[tuple[str, list[str]]]:
    """The words of each key, and where it stands."""
    for number, line in enumerate(text.split("\n"), start=1):
        # The comment goes first: what stands after a semicolon in it must never become a key.
        entries = line.partition("#")[0].split(";")
        for position, entry in enumerate(entries, start=1):
            if words := entry.split():
                yield f"line {number}" + (f", key {position}" if len(entries) > 1 else ""), words


def _key(words: list[str]) -> Key:
    name, *rest = words
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise KeyFileError(f"must begin with a name, which {_NAMES}")
    kind, _, digits = (rest[0] if rest else "").partition(":")
    if kind != "sha256" or not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise KeyFileError("after the name must stand sha256: and 64 hexadecimal digits")
    given: dict[str, str] = {}
    for word in rest[1:]:
        what, _, value = word.partition("=")
        if what in given:
            raise KeyFileError(f"{what}= stands there twice")
        if what not in ("requests", "items", "concurrency", "models"):
            raise KeyFileError(
                "limits are requests=N/s, items=N/s, concurrency=N and models=A,B, and nothing else"
            )
        given[what] = value
    return Key(
        name,
        bytes.fromhex(digits),
        Quota(
            requests=_rate("requests", given),
            items=_rate("items", given),
            concurrency=_concurrency(given),
            models=_models(given),
        ),
    )


def _rate(what: str, given: dict[str, str]) -> float | None:
    if what not in given:
        return None
    match = _RATE.fullmatch(given[what])
    if match is None or float(match[1]) <= 0:
        raise KeyFileError(f"{what}= must be a rate above 0, such as 20/s, 90/m or 1000/h")
    return float(match[1]) / _PER[match[2]]


def _concurrency(given: dict[str, str]) -> int | None:
    value = given.get("concurrency")
    if value is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}", value):
        raise KeyFileError("concurrency= must be a whole number from 1")
    return int(value)


def _models(given: dict[str, str]) -> frozenset[str] | None:
    value = given.get("models")
    if value is None:
        return None
    if not all(names := value.split(",")):
        raise KeyFileError("models= must be one name or several, separated by commas")
    return frozenset(names)
