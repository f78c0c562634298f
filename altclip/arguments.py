"""The arguments of the `altclip` command. `cli.py` runs it, `commands.py` has what its commands do."""

from __future__ import annotations

import argparse
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, get_args

from altclip import commands, inputs
from altclip.bulk import arguments as bulk_arguments
from altclip.bulk import command as bulk_commands
from altclip.bulk import search
from altclip.bulk.openai import command as batch_files
from altclip.channel import DEFAULT_TIMEOUT, channel_credentials
from altclip.client import Client
from altclip.evaluate.arguments import add_arguments
from altclip.evaluate.command import run
from altclip.printing import legible, tell
from altclip.streams.ledger import WINDOW
from altclip.version import VERSION

Command = Callable[[Client, argparse.Namespace], int]
BulkCommand = Callable[[Sequence[Client], argparse.Namespace], int]

TWO_WORDS = frozenset({"bulk verify", "bulk extend", "bulk openai"})
"""Commands whose name has two words."""

EXAMPLES = """examples:
  altclip embed-text "a red balloon" "红气球" --output vectors.npy
  altclip similarity --query-image cat.png --text cat --text dog --score probability
  altclip classify cat.png dog.png --labels 猫 狗 --language zh
  altclip embed-stream < items.jsonl > vectors.jsonl
  altclip evaluate captions.csv --images pictures
  altclip bulk captions.parquet vectors --text caption

environment:
  ALTCLIP_ADDRESS   where the service is, unless --address says (default: localhost:50051)
  ALTCLIP_API_KEY   sent as `authorization: Bearer`
  OTEL_…            of OpenTelemetry's SDK, for --tracing

exit status: 0 done; 1 refused, or items failed; 2 wrong usage or input; 3 try again later; 4 cannot write
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help with room for the names, so that each option stays on its line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(110, shutil.get_terminal_size().columns))


class Parser(argparse.ArgumentParser):
    """A parser whose words can be shown in any locale."""

    def format_help(self) -> str:
        return legible(super().format_help())

    def format_usage(self) -> str:
        return legible(super().format_usage())

    def error(self, message: str) -> NoReturn:
        super().error(legible(" ".join(message.split("\n"))))


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    root = Parser(
        prog="altclip",
        description="Embeds, compares and classifies texts and pictures with an AltCLIP service.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    root.add_argument("--version", action="version", version=f"altclip {VERSION}")
    added = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common, of_bulk = _common_arguments(), _common_arguments(several=True)

    def command(
        name: str, run: Command | BulkCommand, summary: str, parent: Parser | None = common
    ) -> argparse.ArgumentParser:
        description = f"{summary[0].upper()}{summary[1:]}."
        parents = [] if parent is None else [parent]
        one = added.add_parser(
            name, parents=parents, help=summary, description=description, formatter_class=Help
        )
        one.set_defaults(run=run, several=parent is not common)
        return one

    one = command("embed-text", commands.embed_text, "embed texts, or the lines of standard input")
    one.add_argument("texts", nargs="*", metavar="TEXT")
    _embedding_arguments(one, truncation=True)

    one = command("embed-image", commands.embed_image, "embed picture files")
    one.add_argument("images", nargs="+", type=Path, metavar="FILE")
    _embedding_arguments(one, truncation=False)
    _orientation_argument(one)

    one = command("similarity", commands.similarity, "score queries against candidates")
    for flag, kind, where in (
        ("--query", str, "queries"),
        ("--query-image", Path, "queries"),
        ("--text", str, "candidates"),
        ("--image", Path, "candidates"),
    ):
        what = "FILE" if kind is Path else "TEXT"
        role = "a query" if where == "queries" else "a candidate"
        one.add_argument(
            flag, dest=where, action="append", type=kind, metavar=what, help=f"{role}; may be repeated"
        )
    one.add_argument("--score", choices=get_args(inputs.Score), default="cosine", help="default: %(default)s")
    one.add_argument("--top-k", type=int, default=0, metavar="K", help="show the K best of each query")
    _orientation_argument(one)

    one = command("classify", commands.classify, "classify picture files into labels of your own")
    one.add_argument("images", nargs="+", type=Path, metavar="FILE")
    one.add_argument("--labels", nargs="+", required=True, metavar="LABEL", help="the class names")
    one.add_argument(
        "--language", default="en", help="of the labels: en zh es fr ru ja ko ar it (default: %(default)s)"
    )
    one.add_argument(
        "--template",
        dest="templates",
        action="append",
        metavar="TEMPLATE",
        help="a prompt with {} for the label, in place of the server's; may be repeated",
    )
    one.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="show the K best (default: %(default)s)"
    )
    _orientation_argument(one)

    command("models", commands.models, "list the models of the server")
    command("version", commands.show_versions, "tell the versions of client and server, and whether they fit")

    one = command("health", commands.health, "tell whether the server answers (exit status 0) or not (3)")
    one.add_argument("--wait", type=_seconds, metavar="SECONDS", help="wait so long for it to become ready")

    one = command(
        "embed-stream",
        commands.embed_stream,
        'embed JSON lines {"id", "text"} or {"id", "image": FILE} from input',
    )
    _embedding_arguments(one, truncation=True)
    _orientation_argument(one)
    one.add_argument(
        "--window",
        type=int,
        default=WINDOW,
        metavar="N",
        help="items on their way at most (default: %(default)s)",
    )

    one = command("evaluate", run, "measure a model on data of yours: retrieval, classification")
    add_arguments(one)

    one = command(
        "bulk", bulk_commands.run, "embed columns of tables, or folders of images, into files", of_bulk
    )
    bulk_arguments.add_arguments(one)
    one = command(
        "bulk extend", bulk_commands.run_extend, "add new files of the input to what bulk wrote", of_bulk
    )
    bulk_arguments.add_arguments(one, extend=True)
    one = command("bulk verify", bulk_commands.run_verify, "check what bulk wrote", None)
    one.add_argument("output", metavar="OUTPUT")

    one = command("bulk openai", batch_files.run, "answer OpenAI's batch file through the HTTP port", None)
    _certificate_arguments(one.add_argument_group("connection"))
    batch_files.add_arguments(one)

    one = command("search", search.run, "find what is nearest to a text or image in what bulk wrote")
    bulk_arguments.add_search_arguments(one)
    return root


def words(arguments: Sequence[str]) -> list[str]:
    """The arguments with a command of two words as one."""
    name = " ".join(arguments[:2])
    return [name, *arguments[2:]] if name in TWO_WORDS else list(arguments)


def clients_of(parsed: argparse.Namespace) -> list[Client]:
    """The clients that these arguments describe: one, but several for several addresses, and none for a
    command that takes no address. Raises InvalidArgument, OSError and ValueError."""
    if "certificate" in parsed and (parsed.certificate is None) != (parsed.key is None):
        raise ValueError("--certificate and --key are needed together")
    if "address" not in parsed:
        return []
    options: dict[str, Any] = {
        "tls": parsed.tls,
        "root_certificates": parsed.root_certificates,
        "tracing": _traced(parsed),
    }
    if parsed.certificate is not None:
        own = (parsed.certificate.read_bytes(), parsed.key.read_bytes())
        options["credentials"] = channel_credentials(True, parsed.root_certificates, own)
    addresses = parsed.address or [_default_address()]
    return [
        Client(address, api_key=os.environ.get("ALTCLIP_API_KEY"), timeout=parsed.timeout, **options)
        for address in ([addresses] if isinstance(addresses, str) else addresses)
    ]


def tracing_of(parsed: argparse.Namespace) -> AbstractContextManager[None]:
    """For a `with` block around the command: sends the spans of its calls where these arguments say. Raises
    ClientUnusable and ValueError."""
    if not _traced(parsed):
        return nullcontext()
    if getattr(parsed, "ray", None) is not None:
        raise ValueError("--tracing is not for --ray: the calls are made on the cluster's nodes")
    from altclip.tracing.export import exporting  # loads OpenTelemetry

    return exporting(parsed.trace_endpoint, tell)


def _traced(parsed: argparse.Namespace) -> bool:
    return "tracing" in parsed and bool(parsed.tracing or parsed.trace_endpoint)


def _default_address() -> str:
    return os.environ.get("ALTCLIP_ADDRESS") or "localhost:50051"


def _common_arguments(*, several: bool = False) -> Parser:
    """Of commands that call the service. several: of bulk jobs, whose last line is JSON in any case."""
    several_help = "; repeat it for several servers that share the work" if several else ""
    common = Parser(add_help=False)
    group = common.add_argument_group("connection")
    group.add_argument(
        "--address",
        type=_address,
        metavar="HOST:PORT",
        action="append" if several else "store",
        default=None if several else _default_address(),
        help=f"where the service is{several_help} (default: {_default_address()})",
    )
    group.add_argument("--tls", action="store_true", help="encrypt, and check the server's certificate")
    _certificate_arguments(group)
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="of a call; a stream has none (default: %(default)g)",
    )
    group.add_argument(
        "--tracing", action="store_true", help="send spans of the calls to an OpenTelemetry collector"
    )
    group.add_argument(
        "--trace-endpoint",
        default="",
        metavar="URL",
        help="the collector; implies --tracing (default: as OTEL_… say, or http://localhost:4317)",
    )
    common.add_argument(
        "--model", default="", metavar="NAME", help="which model (default: the server's first)"
    )
    if not several:
        common.add_argument("--json", action="store_true", help="answer in JSON")
    return common


def _certificate_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--root-certificates",
        type=Path,
        metavar="PEM",
        help="encrypt, and check the server's certificate against these",
    )
    group.add_argument(
        "--certificate", type=Path, metavar="PEM", help="show this to a server that asks (mutual TLS)"
    )
    group.add_argument("--key", type=Path, metavar="PEM", help="the key of --certificate")


def _orientation_argument(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--orientation",
        choices=get_args(inputs.Orientation),
        default="as_stored",
        help="upright turns pictures as their EXIF data says (default: %(default)s)",
    )


def _embedding_arguments(one: argparse.ArgumentParser, *, truncation: bool) -> None:
    one.add_argument("--output", type=Path, metavar="FILE.npy", help="write the embeddings there")
    one.add_argument(
        "--encoding",
        choices=get_args(inputs.Encoding),
        default="float32",
        help="how the numbers travel (default: %(default)s)",
    )
    if truncation:
        one.add_argument(
            "--truncation",
            choices=get_args(inputs.Truncation),
            default="truncate",
            help="of texts over the model's limit (default: %(default)s)",
        )


def _address(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("give HOST:PORT, such as localhost:50051")
    return text.strip()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"give a time in seconds above 0 (inf: no limit), not {text!r}")
    return value
