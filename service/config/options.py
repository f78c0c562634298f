"""How one setting is declared, read from text, and shown. Pure.

A reader (`readers.py`) turns text into a value or raises ValueError with what is accepted; the option's name
and the text are added here, once.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from service.config import readers
from service.config.readers import Reader

__all__ = ["OptionError", "Parser", "flag", "option", "read", "show", "variable"]

Field = dataclasses.Field[Any]

_SHOWN_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
# A key may stand where its hash or its file should, a password in an address: neither must get into a log.
_SECRET = frozenset({readers.key_file, readers.key_lines, readers.url, readers.collector})


class OptionError(ValueError):
    """A setting that cannot be used: expected, its text names the option and what is accepted."""


class Parser(argparse.ArgumentParser):
    """Raises OptionError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """argparse's hook."""
        raise OptionError(message)


def option(
    default: Any,
    reader: Reader,
    text: str,
    *,
    metavar: str | None = None,
    repeat: bool = False,
    quoted: bool = False,
    opens: str = "",
) -> Any:
    """A dataclass field. repeat: it may be given several times; its value is a tuple. quoted: one text on the
    command line is one value, whatever it holds; the variable is split as a shell would, at white space
    outside of quotes. opens: the title of the group of options that begins with this one."""
    metadata = {
        "reader": reader,
        "help": text,
        "metavar": metavar or _metavar(reader),
        "repeat": repeat,
        "quoted": quoted,
        "opens": opens,
    }
    return dataclasses.field(default=default, metadata=metadata)


def flag(field: Field) -> str:
    """As on the command line."""
    return "--" + field.name.replace("_", "-")


def variable(field: Field) -> str:
    """As in the environment."""
    return "ALTCLIP_" + field.name.upper()


def read(field: Field, given: str | Sequence[str], source: str) -> Any:
    """The value of a variable's text, or of the texts of an option on the command line, one for each time it
    was given. source: where they come from. Raises OptionError."""
    names = f"{flag(field)} ({variable(field)})" if source == flag(field) else f"{source} ({flag(field)})"
    texts = list(given) if not isinstance(given, str) else _split(field, given, names)
    values = [_value(field, text.strip(), names) for text in texts]
    if not field.metadata["repeat"]:
        return values[-1]
    return tuple(word for value in values for word in value)


def _split(field: Field, text: str, names: str) -> list[str]:
    if not field.metadata["quoted"]:
        return [text]
    try:
        return shlex.split(text)
    except ValueError:
        raise OptionError(f"{names}: {text!r} has an opening quotation mark and no closing one") from None


def _value(field: Field, text: str, names: str) -> Any:
    reader: Reader = field.metadata["reader"]
    try:
        return reader(text)
    except ValueError as error:
        shown = "what was given" if reader in _SECRET else repr(text)
        raise OptionError(f"{names}: {shown} is not accepted; give {error}") from None


def show(field: Field) -> str:
    """The default as one would write it; "" for none."""
    default: Any = field.default
    if isinstance(default, tuple):
        return ",".join(default)
    if field.metadata["metavar"] == "SIZE":
        for unit, factor in _SHOWN_UNITS:
            if default and default % factor == 0:
                return f"{default // factor}{unit}"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _metavar(reader: Reader) -> str:
    return getattr(reader, "metavar", "HOST:PORT" if reader is readers.address else "TEXT")
