"""How the text of a setting becomes its value. Pure; imports the standard library and the format of keys.

A reader takes a text and returns a value, or raises ValueError with what is accepted ("a whole number from
1"). `options.read` puts the option's name and the text before that. A reader of several values returns a
tuple.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from service.config import keys

__all__ = [
    "HTTP_APIS",
    "OFF",
    "PORTS",
    "Reader",
    "address",
    "address_or_off",
    "alias",
    "apis",
    "choice",
    "collector",
    "devices",
    "domains",
    "host_names",
    "integer",
    "key_file",
    "key_lines",
    "model",
    "names_host",
    "origins",
    "path",
    "prefix",
    "ratio",
    "schemes",
    "seconds",
    "size",
    "split_address",
    "split_alias",
    "url",
]

Reader = Callable[[str], Any]

OFF = "off"
HTTP_APIS = ("openai", "cohere", "voyage", "tei", "weaviate", "immich")
PORTS = {"https": 443, "http": 80}
"""The port of a scheme where none is written."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_LONGEST = 24
"""Characters of a number: int() takes time and memory for what is longer, and refuses it in its own words."""
# Names are metric labels and parts of health service names.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


def integer(least: int, most: int) -> Reader:
    """A whole number in a range."""

    def whole_number(text: str) -> int:
        accepted = f"a whole number {_range(least, most)}"
        if len(text) > _LONGEST or not re.fullmatch(rf"[+-]?{_DIGITS}", text):
            raise ValueError(accepted)
        return int(_within(int(text), least, most, accepted))

    return _named(whole_number, "N")


def size(least: int, most: int) -> Reader:
    """Bytes, with or without a unit: 65536, 64KiB, 32MiB, 1G."""

    def byte_count(text: str) -> int:
        accepted = f"a number of bytes {_range(least, most)}, such as 65536, 64KiB or 32MiB"
        match = re.fullmatch(rf"({_DIGITS})\s*([kmg]?)(?:i?b)?", text.lower())
        if match is None or len(text) > _LONGEST:
            raise ValueError(accepted)
        return int(_within(int(match[1]) * _UNITS[match[2]], least, most, accepted))

    return _named(byte_count, "SIZE")


def seconds(least: float, most: float) -> Reader:
    """A time in seconds, with or without its unit: 30, 0.5, 30s, 500ms, 10m."""

    def time_span(text: str) -> float:
        accepted = f"a time in seconds {_range(least, most)}, such as 30, 0.5 or 500ms"
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h|)", text.lower())
        if match is None:
            raise ValueError(accepted)
        factor = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}[match[2]]
        return _within(float(match[1]) * factor, least, most, accepted)

    return _named(time_span, "SECONDS")


def choice(*accepted: str) -> Reader:
    """One of a few words."""

    def one_of(text: str) -> str:
        if text.lower() not in accepted:
            raise ValueError("one of " + ", ".join(accepted))
        return text.lower()

    return _named(one_of, "|".join(accepted))


def address(text: str) -> str:
    """HOST:PORT, where an IPv6 host stands in brackets."""
    split_address(text)
    return text


def address_or_off(text: str) -> str:
    """The same, or `off`, which becomes ""."""
    if text.lower() == OFF:
        return ""
    try:
        return address(text)
    except ValueError as error:
        raise ValueError(f"{error}, or {OFF}") from None


def split_address(text: str) -> tuple[str, int]:
    """Host (without brackets) and port. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\[\]:\s/]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65_535:
        raise ValueError("HOST:PORT, such as 0.0.0.0:50051, localhost:0 or [::]:50051")
    return match[1] or match[2], int(match[3])


def path(text: str) -> str:
    """The name of a file."""
    if not text:
        raise ValueError("a file")
    return text


def key_file(text: str) -> str:
    """The name of a file, and not what should be in it."""
    if not text or text.startswith(keys.PREFIX) or "sha256:" in text:
        raise ValueError("a file; lines of keys themselves are given with --api-key-lines")
    return text


def schemes(text: str) -> tuple[str, ...]:
    """`https`, `http` or with another port `https:8443`, separated by white space or commas."""
    accepted = "https, http, or one of them with a port, such as https:8443"
    found = [re.fullmatch(r"(https?)(?::([1-9][0-9]{0,4}))?", word.lower()) for word in _words(text)]
    if not found or not all(match is not None and int(match[2] or 1) <= 65_535 for match in found):
        raise ValueError(accepted)
    return tuple(f"{match[1]}:{match[2] or PORTS[match[1]]}" for match in found if match is not None)


def domains(text: str) -> tuple[str, ...]:
    """Full domain names, or *.name for all below it, separated by white space or commas."""
    accepted = "domain names such as images.example.com or *.example.com"
    return _all(text, r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+", accepted)


def host_names(text: str) -> tuple[str, ...]:
    """Names of this server without a port, also short ones, separated by white space or commas."""
    accepted = "host names without a port, such as altclip, embed.example.com or *.example.com"
    return _all(text, r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", accepted)


def names_host(host: str, names: Sequence[str]) -> bool:
    """Whether a host is one of such names; `*.example.com` is every name below example.com alone."""
    return any(
        host.endswith(name[1:]) and len(host) > len(name) - 1 if name.startswith("*.") else host == name
        for name in names
    )


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages, or * for every one, separated by white space or commas."""
    accepted = "origins such as https://app.example.com or http://localhost:3000, or *"
    return _all(text, r"\*|https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", accepted)


def apis(text: str) -> tuple[str, ...]:
    """Some of HTTP_APIS, separated by white space or commas."""
    return _all(text, "|".join(HTTP_APIS), "some of " + ", ".join(HTTP_APIS))


def prefix(text: str) -> str:
    """A path that begins with /; it is returned without a / at its end."""
    if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+/?", text):
        raise ValueError("a path such as /altclip")
    return text.rstrip("/")


def ratio(text: str) -> float:
    """A part of a whole: 0.01, 1, 1%."""
    accepted = "a number from 0 to 1, such as 0.01, or 1%"
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*(%?)", text)
    if match is None:
        raise ValueError(accepted)
    return _within(float(match[1]) / (100 if match[2] else 1), 0.0, 1.0, accepted)


ratio.metavar = "RATIO"  # type: ignore[attr-defined]


def url(text: str) -> str:
    """An http(s) address of another server."""
    return _web_address(text, "http://immich-machine-learning:3003")


def collector(text: str) -> str:
    """The same, of a collector."""
    return _web_address(text, "http://collector:4317")


def _web_address(text: str, example: str) -> str:
    """An http(s) address without user, query and fragment; it is returned without a / at its end."""
    try:
        found = urlsplit(text)
        plain = found.scheme in PORTS and found.hostname and (found.port is None or found.port > 0)
    except ValueError:
        plain = False
    if not plain or "@" in text or "?" in text or "#" in text or re.search(r"\s", text):
        raise ValueError(f"an address such as {example}")
    return text.rstrip("/")


def key_lines(text: str) -> str:
    """Lines of API keys as they would stand in a file."""
    try:
        keys.parse(text)
    except keys.KeyFileError as error:
        raise ValueError(f"lines as `altclip-server key NAME` prints them ({error})") from None
    return text


def model(text: str) -> tuple[str, ...]:
    """One NAME, SOURCE or NAME=SOURCE; what it means is decided where models are found."""
    if not text:
        raise ValueError("NAME, SOURCE or NAME=SOURCE")
    return (text,)


def alias(text: str) -> tuple[str, ...]:
    """One ALIAS=MODEL."""
    if not all(map(_MODEL_NAME.fullmatch, split_alias(text))):
        raise ValueError("ALIAS=MODEL, both of letters, digits and . _ / -")
    return (text,)


def split_alias(text: str) -> tuple[str, str]:
    """Alias and model; the model is "" where there is no equals sign."""
    given, _, name = text.partition("=")
    return given, name


def devices(text: str) -> tuple[str, ...]:
    """One or several, separated by white space or commas; `cuda` is `cuda:0`."""
    given = [word.lower() for word in _words(text)]
    if not given or not all(re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", word) for word in given):
        raise ValueError("auto, cpu, cuda or cuda:N")
    return tuple("cuda:0" if word == "cuda" else word for word in given)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _all(text: str, pattern: str, accepted: str) -> tuple[str, ...]:
    """The words in lower case, each of which must match the pattern."""
    found = [word.lower() for word in _words(text)]
    if not found or not all(re.fullmatch(pattern, word) for word in found):
        raise ValueError(accepted)
    return tuple(found)


def _named(reader: Reader, metavar: str) -> Reader:
    reader.metavar = metavar  # type: ignore[attr-defined]
    return reader


def _range(least: float, most: float) -> str:
    return f"from {least} to {most}"


def _within(value: float, least: float, most: float, accepted: str) -> float:
    if not least <= value <= most:
        raise ValueError(accepted)
    return value
