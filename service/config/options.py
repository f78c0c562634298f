"""How one setting is declared, read from text, and shown. Imports what is pure.

A reader turns text into a value or raises ValueError with what is accepted ("a whole number from 1"); the
option's name and the text are added here, once.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from service.config import keys
from service.frontend.preprocessing.addresses import PORTS

__all__ = [
    "OptionError",
    "Parser",
    "address",
    "choice",
    "devices",
    "flag",
    "hosts",
    "integer",
    "key_file",
    "key_lines",
    "option",
    "origins",
    "path",
    "read",
    "seconds",
    "show",
    "size",
    "split_address",
    "variable",
    "words",
]

Reader = Callable[[str], Any]
Field = dataclasses.Field[Any]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_LONGEST = 24
"""Characters of a number: int() takes time and memory for what is longer, and refuses it in its own words."""
_SHOWN_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


class OptionError(ValueError):
    """A setting that cannot be used: expected, its text names the option and what is accepted."""


class Parser(argparse.ArgumentParser):
    """Raises OptionError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """argparse's hook."""
        raise OptionError(message)


def option(
    default: Any, reader: Reader, text: str, *, metavar: str | None = None, repeat: bool = False
) -> Any:
    """A dataclass field. repeat: it may be given several times; its value is a tuple."""
    metadata = {"reader": reader, "help": text, "metavar": metavar or _metavar(reader), "repeat": repeat}
    return dataclasses.field(default=default, metadata=metadata)


def flag(field: Field) -> str:
    """As on the command line."""
    return "--" + field.name.replace("_", "-")


def variable(field: Field) -> str:
    """As in the environment."""
    return "ALTCLIP_" + field.name.upper()


def read(field: Field, given: str | Sequence[str], source: str) -> Any:
    """The value of one text, or of one for each time an option was repeated. Raises OptionError."""
    texts = [given] if isinstance(given, str) else list(given)
    reader: Reader = field.metadata["reader"]
    values = []
    for text in texts:
        try:
            values.append(reader(text.strip()))
        except ValueError as error:
            names = (
                f"{flag(field)} ({variable(field)})" if source == flag(field) else f"{source} ({flag(field)})"
            )
            shown = "what was given" if reader in _SECRET else repr(text)
            raise OptionError(f"{names}: {shown} is not accepted; give {error}") from None
    if not field.metadata["repeat"]:
        return values[-1]
    return tuple(word for value in values for word in value)


def show(field: Field) -> str:
    """The default as one would write it; "" for none."""
    default: Any = field.default
    if isinstance(default, tuple):
        return " ".join(default)
    if field.metadata["metavar"] == "SIZE":
        for unit, factor in _SHOWN_UNITS:
            if default and default % factor == 0:
                return f"{default // factor}{unit}"
    return f"{default:g}" if isinstance(default, float) else str(default)


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


def origins(text: str) -> tuple[str, ...]:
    """`https`, `http` or with another port `https:8443`, separated by white space or commas."""
    accepted = "https, http, or one of them with a port, such as https:8443"
    found = [re.fullmatch(r"(https?)(?::([1-9][0-9]{0,4}))?", word.lower()) for word in _words(text)]
    if not found or not all(match is not None and int(match[2] or 1) <= 65_535 for match in found):
        raise ValueError(accepted)
    return tuple(f"{match[1]}:{match[2] or PORTS[match[1]]}" for match in found if match is not None)


def hosts(text: str) -> tuple[str, ...]:
    """Full domain names, or *.name for all below it, separated by white space or commas."""
    found = [word.lower() for word in _words(text)]
    if not found or not all(re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+", word) for word in found):
        raise ValueError("domain names such as images.example.com or *.example.com")
    return tuple(found)


def key_lines(text: str) -> str:
    """Lines of API keys as they would stand in a file."""
    try:
        keys.parse(text)
    except keys.KeyFileError as error:
        raise ValueError(f"lines as `altclip-server key NAME` prints them ({error})") from None
    return text


# A key may stand where its hash should: it must not get into a log.
_SECRET = frozenset({key_file, key_lines})


def words(text: str) -> tuple[str, ...]:
    """One or several, separated by white space (a SOURCE may hold a comma)."""
    if not text.split():
        raise ValueError("at least one word")
    return tuple(text.split())


def devices(text: str) -> tuple[str, ...]:
    """One or several, separated by white space or commas; `cuda` is `cuda:0`."""
    given = [word.lower() for word in _words(text)]
    if not given or not all(re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", word) for word in given):
        raise ValueError("auto, cpu, cuda or cuda:N")
    return tuple("cuda:0" if word == "cuda" else word for word in given)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _metavar(reader: Reader) -> str:
    return getattr(reader, "metavar", "HOST:PORT" if reader is address else "TEXT")


def _named(reader: Reader, metavar: str) -> Reader:
    reader.metavar = metavar  # type: ignore[attr-defined]
    return reader


def _range(least: float, most: float) -> str:
    return f"from {least} to {most}"


def _within(value: float, least: float, most: float, accepted: str) -> float:
    if not least <= value <= most:
        raise ValueError(accepted)
    return value
