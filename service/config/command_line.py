"""From the command line and the environment to `Settings`; also the help and the documented table.

`--max-texts 64` on the command line is `ALTCLIP_MAX_TEXTS=64` in the environment; the command line wins.
`python -m service.config.command_line` prints the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from service.config import options
from service.config.settings import Settings

__all__ = ["load", "markdown_table", "parser"]


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """arguments: without the program's name. An empty variable counts as one that is not set. Raises
    OptionError."""
    given = vars(parser().parse_args(arguments))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        if (texts := given.get(field.name)) is not None:
            values[field.name] = options.read(field, texts, options.flag(field))
        elif text := environment.get(options.variable(field), ""):
            values[field.name] = options.read(field, text, options.variable(field))
    return Settings(**values)


def parser(version: str = "") -> argparse.ArgumentParser:
    """The command line of `altclip-server`; values stay text."""
    made = options.Parser(
        prog="altclip-server",
        description="Serve AltCLIP over gRPC and HTTP. "
        "`altclip-server convert SOURCE DIRECTORY` makes safetensors of a pickle checkpoint, "
        "`altclip-server key NAME` an API key.",
        epilog="Each option can also be given as ALTCLIP_… in the environment, e.g. ALTCLIP_MAX_TEXTS=64; "
        "the command line wins. There, repeated ones are separated by spaces, and quotes keep a value with "
        "spaces together.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"altclip-server {version}".strip())
    for field in dataclasses.fields(Settings):
        shown = options.show(field) or "none"
        made.add_argument(
            options.flag(field),
            dest=field.name,
            action="append",
            metavar=field.metadata["metavar"],
            help=f"{field.metadata['help']} (default: {shown})".replace("%", "%%"),
        )
    return made


def markdown_table() -> str:
    """Every option, its variable, default and meaning, for the documentation."""
    rows = ["| option | environment | default | |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        meaning = field.metadata["help"].replace("|", "\\|")
        default = f"`{options.show(field)}`" if options.show(field) else ""
        rows.append(f"| `{options.flag(field)}` | `{options.variable(field)}` | {default} | {meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(markdown_table() + "\n")
