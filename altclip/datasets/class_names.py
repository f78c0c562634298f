"""Names of classes and prompts around them: how files of them are read, and how a name is put in.

LAION's files hold one name or one template a line, with `{c}` where the name goes; `{}` is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from altclip.datasets.dataset import Request
from altclip.datasets.items import DataError
from altclip.datasets.text import read_text, split_lines

BARE = ("{}",)
"""The name alone."""


def read_classes(beside: Path, request: Request, names: Sequence[str] | None) -> Mapping[str, list[str]]:
    """The names of the classes by language: from the request's files; in the first language also from the
    file beside the data, else `names`. Raises DataError."""
    found: dict[str, list[str]] = {}
    # What stands beside the data is in the first language, unless that language has a file of its own.
    if request.language not in request.classnames and (beside.exists() or names is not None):
        found[request.language] = _lines(beside) if beside.exists() or names is None else list(names)
    found |= {language: _lines(path) for language, path in request.classnames.items()}
    if not found:
        raise DataError(f"{beside}: no such file, and without names there are no classes (see --classnames)")
    wanted = list(request.languages) or list(found)
    missing = [language for language in wanted if language not in found]
    if missing:
        raise DataError(
            f"no names of the classes in {', '.join(missing)}: give --classnames {missing[0]}=FILE"
        )
    found = {language: found[language] for language in wanted}
    counts = {language: len(each) for language, each in found.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} in {language}" for language, count in counts.items())
        raise DataError(f"the languages have different numbers of classes: {told}")
    return found


def read_templates(beside: Path, request: Request) -> Mapping[str, list[str]]:
    """The set's own prompts by language, each with one `{}`. Raises DataError that names file and line."""
    found = {language: _templates(path) for language, path in request.templates.items()}
    if beside.exists() and request.language not in found:
        found[request.language] = _templates(beside)
    return found


def fill(template: str, name: str) -> str:
    """The template with the name in it. Neither may be taken for a format: both can hold braces."""
    return template.replace("{}", name, 1)


def _templates(path: Path) -> list[str]:
    templates = []
    for number, line in enumerate(_lines(path), 1):
        template = line.replace("{c}", "{}")
        if template.count("{}") != 1:
            # A Cyrillic с looks the same, and is found in published files.
            hint = "; its {с} is a Cyrillic letter" if "{с}" in line else ""
            raise DataError(f"{path} line {number}: a template has one {{}} or {{c}} for the name{hint}")
        templates.append(template)
    return templates


def _lines(path: Path) -> list[str]:
    """One entry a line, or a JSON list where the file's name ends in `.json`."""
    text = read_text(path)
    if path.suffix == ".json":
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(f"{path}: not a list of strings")
    else:
        entries = split_lines(text)
    lines = [entry.strip() for entry in entries]
    for number, line in enumerate(lines, 1):
        if not line:
            raise DataError(f"{path} line {number}: empty")
    if not lines:
        raise DataError(f"{path}: empty")
    return lines
