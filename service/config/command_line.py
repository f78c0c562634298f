"""From the command line and the environment to `Settings`; also the help and the documented tables.

`--max-texts 64` on the command line is `ALTCLIP_MAX_TEXTS=64` in the environment; the command line wins.
`python -m service.config.command_line` prints these.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from service.config import options
from service.config.settings import Settings

__all__ = ["CLIENT_VARIABLES", "load", "markdown_tables", "parser", "unknown_variables"]

CLIENT_VARIABLES = frozenset({"ALTCLIP_ADDRESS", "ALTCLIP_API_KEY"})
"""What the client `altclip` reads; the server has no use for them."""

_PREFIX = "ALTCLIP_"


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


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and sets nothing. Values are never shown."""
    known = {options.variable(field) for field in dataclasses.fields(Settings)}
    found = []
    for name in sorted(environment):
        ours = name.upper().startswith(_PREFIX) and not _is_kubernetes(name, environment)
        if ours and name not in known | CLIENT_VARIABLES:
            nearest = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "see altclip-server --help"
            found.append(f"{name} is no setting and is ignored; {hint}")
    return found


def _is_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether it tells of a Kubernetes service whose name begins with altclip: NAME_SERVICE_HOST,
    NAME_SERVICE_PORT…, NAME_PORT…"""
    service = re.split(r"_SERVICE_HOST$|_SERVICE_PORT|_PORT", name, maxsplit=1)[0]
    return name != service and f"{service}_SERVICE_HOST" in environment


def parser(version: str = "") -> argparse.ArgumentParser:
    """The command line of `altclip-server`; values stay text."""
    made = options.Parser(
        prog="altclip-server",
        usage="altclip-server [--model NAME=SOURCE] [--OPTION VALUE] ...\n"
        "       altclip-server convert SOURCE DIRECTORY\n"
        "       altclip-server key NAME [LIMIT ...]",
        description="Serve AltCLIP over gRPC and HTTP: without any option the bundled model, to everyone. "
        "`convert` makes safetensors of a pickle checkpoint, `key` an API key; each has a --help of its own.",
        epilog="Each option can also be given as ALTCLIP_… in the environment, e.g. ALTCLIP_MAX_TEXTS=64; "
        "the command line wins. There, repeated ones are separated by spaces, and quotes keep a value with "
        "spaces together.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"altclip-server {version}".strip())
    group: argparse._ActionsContainer = made
    for field in dataclasses.fields(Settings):
        if title := field.metadata["opens"]:
            group = made.add_argument_group(title)
        shown = options.show(field) or "none"
        group.add_argument(
            options.flag(field),
            dest=field.name,
            action="append",
            metavar=field.metadata["metavar"],
            help=f"{field.metadata['help']} (default: {shown})".replace("%", "%%"),
        )
    return made


def markdown_tables() -> str:
    """Every option, its variable, default and meaning, for the documentation: a table for each group."""
    head = ["| option | environment | default | |", "| --- | --- | --- | --- |"]
    rows = []
    for field in dataclasses.fields(Settings):
        if title := field.metadata["opens"]:
            rows += ["", f"## {title}", "", *head]
        meaning = field.metadata["help"].replace("|", "\\|")
        default = f"`{options.show(field)}`" if options.show(field) else ""
        rows.append(f"| `{options.flag(field)}` | `{options.variable(field)}` | {default} | {meaning} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown_tables() + "\n")
