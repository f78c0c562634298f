"""The arguments of `altclip bulk` and its kin, beside those of all commands."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from altclip import inputs
from altclip.bulk.output.layout import FORMATS, PARQUET
from altclip.bulk.plan import FIXED, ROWS_PER_SHARD, VECTOR_TYPES

DESCRIPTION = """\
Embeds columns of an input of any size and writes Parquet files with all columns of the input and the
vectors. The same command goes on where it was interrupted, by whatever.

INPUT is a table (.parquet, .csv, .tsv, .jsonl; the last three also with .gz or .zst), a folder or a glob of
tables of one kind, a folder of images, or webdataset tar files (.tar, .tar.gz). OUTPUT is a folder. Both may
be addresses of a store that fsspec knows, such as s3://bucket/folder.

Exit status: 0 all rows have their vectors; 1 some rows failed and are in OUTPUT/errors, or --max-errors was
reached; 2 wrong usage, unreadable input, or OUTPUT does not fit; 3 the service cannot be used; 4 OUTPUT
cannot be written; 130, 143 interrupted. The last line of standard output is a JSON object with rows,
embedded, errors, seconds and rows_per_second.
"""


EXTEND = """\
Adds new files of an input to what `altclip bulk` wrote: INPUT is the same folder or glob, the files of
before are unchanged in it, and new ones follow in sorted order, with the same columns. Columns and vectors
are asked for as before. The same command goes on where it was interrupted.

Exit status and last line are those of `altclip bulk`.
"""


def add_arguments(parser: argparse.ArgumentParser, *, extend: bool = False) -> None:
    """Those of `bulk`, or of `bulk extend`."""
    parser.description = EXTEND if extend else DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("input", metavar="INPUT", help="a file, a folder or a glob")
    parser.add_argument("output", metavar="OUTPUT", help="a folder")
    columns = parser.add_argument_group("columns", "without --text and --image, the only column that fits")
    columns.add_argument(
        "--text", action="append", default=[], metavar="COLUMN", help="holds texts; may be repeated"
    )
    columns.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="COLUMN",
        help="holds images, as bytes, paths or addresses; may be repeated",
    )
    columns.add_argument("--id", metavar="COLUMN", help="names rows in the errors table")
    made = parser.add_argument_group("vectors")
    made.add_argument(
        "--encoding", choices=get_args(inputs.Encoding), default="float32", help="default: %(default)s"
    )
    made.add_argument(
        "--vector-type",
        choices=VECTOR_TYPES,
        default=FIXED,
        help="lists of a fixed size, or plain ones (default: %(default)s)",
    )
    made.add_argument(
        "--format",
        choices=FORMATS,
        default=PARQUET,
        help="npy puts the vectors into .npy files, in LAION's layout (default: %(default)s)",
    )
    made.add_argument(
        "--orientation",
        choices=get_args(inputs.Orientation),
        default="as_stored",
        help="upright turns images as their EXIF data says (default: %(default)s)",
    )
    made.add_argument(
        "--rows-per-shard",
        type=at_least(1),
        default=ROWS_PER_SHARD,
        metavar="N",
        help="rows of the input in a file (default: %(default)s)",
    )
    course = parser.add_argument_group("course")
    course.add_argument(
        "--dry-run",
        action="store_true",
        help="read the input, embed a sample, tell how long a run takes, and write nothing",
    )
    begin = course.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with OUTPUT where it fits (the default)")
    if extend:  # it would remove what is to be extended
        parser.set_defaults(fresh=False)
    else:
        begin.add_argument("--fresh", action="store_true", help="begin anew; what is in OUTPUT is removed")
    add_failures(course, "rows")
    add_patience(course)
    ray = parser.add_argument_group(
        "cluster", "without --address actors have encoders of their own; --model is as for altclip-server"
    )
    ray.add_argument("--ray", metavar="ADDRESS", help="make the parts on this Ray cluster: auto, HOST:PORT")
    ray.add_argument(
        "--ray-actors",
        type=at_least(1),
        default=0,
        metavar="N",
        help="default: one for each GPU, or else as many as find room",
    )
    ray.add_argument("--ray-cpus", type=_share, metavar="N", help="that an actor reserves")
    ray.add_argument("--ray-gpus", type=_share, metavar="N", help="that an actor reserves")


def add_failures(parser: argparse._ActionsContainer, what: str) -> None:
    """What becomes of rows, or of requests, that fail."""
    parser.add_argument("--retry-failed", action="store_true", help=f"try the {what} again that failed")
    parser.add_argument(
        "--max-errors", type=at_least(0), metavar="N", help=f"stop when so many {what} have failed"
    )


def add_patience(parser: argparse._ActionsContainer) -> None:
    """How long a service that is away is waited for."""
    parser.add_argument(
        "--patience",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="give up after so long without any progress (default: %(default)g)",
    )


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `search`."""
    parser.add_argument("output", metavar="OUTPUT", help="what `altclip bulk` wrote")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="WORDS", help="find what is near to these words")
    query.add_argument("--image", type=Path, metavar="FILE", help="find what is near to this image")
    parser.add_argument("--column", metavar="COLUMN", help="the embedded column, where there are several")
    parser.add_argument(
        "--top-k", type=at_least(1), default=10, metavar="K", help="show the K best (default: %(default)s)"
    )
    sheet = parser.add_argument_group("contact sheet")
    sheet.add_argument("--show", type=Path, metavar="FILE.png", help="write the images of the hits there")
    sheet.add_argument(
        "--images", metavar="FOLDER", help="where the paths of images begin (default: where the input was)"
    )


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"give a whole number from {least} on, not {text!r}")
        return value

    return number


def seconds(text: str) -> float:
    """A type of arguments: a time from 0 on."""
    return _number(text, "a time in seconds")


def _share(text: str) -> float:
    value = _number(text, "a number from 0 on")
    if math.isinf(value):
        raise argparse.ArgumentTypeError(f"give a number from 0 on, not {text!r}")
    return value


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"give {what}, not {text!r}")
    return value
