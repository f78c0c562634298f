"""The manifest of an output: what it was made from and with, and which parts are whole. Pure.

A run goes on with an output only where everything that its vectors depend on is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from altclip.bulk.output.layout import PARQUET, Layout, columns_of, errors_name, layout_of
from altclip.datasets.items import DataError

VERSION = 1
RUNNING, DONE = "running", "done"


@dataclass(frozen=True)
class Stored:
    """A file that is whole: its name below the output, its length and its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """A part that is whole.

    Attributes:
        name: Its file, below the output.
        first_row, rows: The first row of the input that belongs to it, and how many rows it holds.
        bytes, sha256: Of its file.
        errors: Rows of its input that are in the errors table instead.
        errors_bytes, errors_sha256: Of that table's file.
        arrays: With the format npy, the files with its vectors.
    """

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str
    errors: int
    errors_bytes: int
    errors_sha256: str
    arrays: tuple[Stored, ...] = ()

    @property
    def files(self) -> list[Stored]:
        """All files of the part."""
        errors = Stored(errors_name(self.name), self.errors_bytes, self.errors_sha256)
        return [Stored(self.name, self.bytes, self.sha256), *self.arrays, errors]


@dataclass(frozen=True)
class Manifest:
    """See the module.

    Attributes:
        input: kind, and files with path, size and hash.
        options: columns, id, rows per shard, vector type, orientation, format.
        model, revision, dtype, dimension, encoding: Of the vectors.
        rows: Of the whole input.
        parts: In order; there may be gaps.
        state: running or done.
    """

    input: Mapping[str, Any]
    options: Mapping[str, Any]
    model: str
    revision: str
    dtype: str
    dimension: int
    encoding: str
    rows: int
    parts: tuple[Part, ...] = ()
    state: str = RUNNING
    version: int = field(default=VERSION)

    @property
    def errors(self) -> int:
        """Rows in the errors tables."""
        return sum(part.errors for part in self.parts)

    @property
    def embedded(self) -> int:
        """Rows in the parts."""
        return sum(part.rows for part in self.parts)

    @property
    def layout(self) -> Layout:
        """Which files there are."""
        form = self.options.get("format", PARQUET)
        return Layout() if form == PARQUET else layout_of(form, columns_of(self.options))

    @property
    def numbers(self) -> range:
        """Of all parts, of those that are still to be made, too."""
        return range(max(1, -(-self.rows // int(self.options["rows_per_shard"]))))

    @property
    def files(self) -> list[str]:
        """The files of all parts, of those that are still to be made, too."""
        return [name for number in self.numbers for name in self.layout.files(number)]

    def with_part(self, part: Part) -> Manifest:
        """With this part in place of one of the same name."""
        others = [each for each in self.parts if each.name != part.name]
        return replace(self, parts=tuple(sorted([*others, part], key=lambda each: each.first_row)))

    def dump(self) -> bytes:
        """As a file."""
        content = asdict(self) | {"errors": self.errors}
        for part in content["parts"]:
            if not part["arrays"]:
                del part["arrays"]
        # A file's name that is not UTF-8 has halves of surrogate pairs: `\udce9` is JSON for one.
        return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")


def load(content: bytes, where: str) -> Manifest:
    """The manifest in a file. Raises DataError."""
    try:
        found = json.loads(content)
        if found["version"] != VERSION:
            raise DataError(f"{where}: of version {found['version']}, and this is for version {VERSION}")
        found.pop("errors")
        found["parts"] = tuple(part_of(part) for part in found["parts"])
        manifest = Manifest(**found)
        if not manifest.files:
            raise DataError(f"{where}: names no parts")
        return manifest
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: no manifest of a bulk job ({type(error).__name__}: {error})") from None


def part_of(found: Mapping[str, Any]) -> Part:
    """The part that `asdict` made these values of."""
    arrays = tuple(Stored(**each) for each in found.get("arrays", ()))
    return Part(**{**found, "arrays": arrays})


def misfits(found: Manifest, wanted: Manifest) -> list[str]:
    """What keeps a run from going on with an output, one line each; none where it fits."""
    lines = _files_that_differ(found.input, wanted.input)
    before = {"format": PARQUET, **found.options}
    lines += [
        f"{name.replace('_', ' ')}: {_told(before.get(name))} before, {_told(value)} now"
        for name, value in wanted.options.items()
        if before.get(name) != value
    ]
    for name in ("model", "revision", "dtype", "dimension", "encoding"):
        if getattr(found, name) != getattr(wanted, name):
            lines.append(f"{name}: {getattr(found, name)} before, {getattr(wanted, name)} now")
    return lines


def _files_that_differ(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    if found.get("kind") != wanted["kind"]:
        return [f"input: {found.get('kind')} before, {wanted['kind']} now"]
    before = {entry["path"]: entry for entry in found["files"]}
    now = {entry["path"]: entry for entry in wanted["files"]}
    lines = [f"input: {path} is gone" for path in before if path not in now]
    lines += [f"input: {path} is new" for path in now if path not in before]
    lines += [f"input: {path} has changed" for path in now if path in before and before[path] != now[path]]
    return _few(lines)


def grown(found: Manifest, wanted: Manifest) -> list[str]:
    """What keeps an output from being extended: the files of before must be unchanged, and new ones must
    follow them. Everything else must fit, too."""
    before: Sequence[Any] = found.input["files"]
    now: Sequence[Any] = wanted.input["files"]
    same = replace(wanted, input={**wanted.input, "files": list(now[: len(before)])})
    lines = misfits(found, same)
    old = {entry["path"] for entry in before}
    early = [entry["path"] for entry in now[: len(before)] if entry["path"] not in old]
    return [f"input: {path} is new, and does not follow the files of before" for path in early] or lines


def _few(lines: list[str]) -> list[str]:
    return lines if len(lines) <= 5 else [*lines[:5], f"input: {len(lines) - 5} more files differ"]


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
