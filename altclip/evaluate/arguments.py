"""The arguments of `altclip evaluate`, beside those of all commands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

DESCRIPTION = """\
Measures a model of a running service on your data: retrieval between pictures and captions
(recall at 1, 5 and 10 both ways), or zero-shot classification (top-1, top-5, mean recall of the classes),
language by language.

DATA is a folder in the layout of LAION's CLIP_benchmark (a webdataset of tar files, the same unpacked, or a
folder a class), or a table (.csv, .tsv, .jsonl) with a column `image` and one column of captions for each
language. With a column `label` a table is for classification, and its columns hold the classes' names.

What is embedded is kept under --work, so that an evaluation that was interrupted goes on when the same
command is run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds all but those of the connection, `--model` and `--json`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder or a table")
    parser.add_argument(
        "--task",
        choices=("auto", "retrieval", "classification"),
        default="auto",
        help="default: as the data says",
    )
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        metavar="CODE",
        help="a language to measure; repeat it, or separate several with commas. The first is that of "
        "captions and class names that do not say theirs (en without this). Default: all that the data has "
        "and the model knows",
    )
    parser.add_argument("--split", default="test", help="the folder's split; default: test")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where a table's pictures are; default: beside the table"
    )
    parser.add_argument(
        "--classnames",
        action="append",
        default=[],
        metavar="LANG=FILE",
        type=language_file,
        help="the names of the classes in a language, one a line or a JSON list; repeat it for several",
    )
    parser.add_argument(
        "--templates",
        action="append",
        default=[],
        metavar="LANG=FILE",
        type=language_file,
        help="prompts of your own, each with one {} or {c} for the name; repeat it for several",
    )
    parser.add_argument(
        "--prompts",
        action="append",
        default=[],
        choices=("server", "own", "bare"),
        help="which prompts to classify with: the server's, those of --templates or of the data, or the bare "
        "name; repeat it for several; default: all that there are",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("altclip-evaluation"),
        metavar="DIR",
        help="where embeddings and results are kept; default: altclip-evaluation",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="the results; default: a file under --work"
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="the bars (.png, .svg, .pdf); default: a .png beside the results",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def language_file(text: str) -> tuple[str, Path]:
    """`zh=names.txt` as language and file; ArgumentTypeError for anything else."""
    language, separator, file = text.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z]+)?", language) or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not LANG=FILE, such as zh=names.txt")
    return language, Path(file)


def languages_of(given: list[str]) -> list[str]:
    """The languages in the order in which they were named, each once."""
    return list(dict.fromkeys(code.strip() for each in given for code in each.split(",") if code.strip()))
