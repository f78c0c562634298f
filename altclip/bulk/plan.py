"""What a run is to do: what it is asked for, with which manifest it begins, which parts it makes, and the
summary at its end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from altclip.bulk.columns import DTYPES
from altclip.bulk.output.layout import FORMATS, PARQUET
from altclip.bulk.output.manifest import RUNNING, Manifest, Part, grown, misfits
from altclip.datasets.items import DataError
from altclip.inputs import ORIENTATIONS

ROWS_PER_SHARD = 10_000
FIXED = "fixed"
VECTOR_TYPES = (FIXED, "list")


@dataclass(frozen=True)
class Wanted:
    """What the vectors depend on.

    Attributes:
        text, image: The columns to embed; the only one that fits where both are empty.
        id: The column whose values name rows in the errors table.
        model: The model's name; empty for the server's first.
        encoding: float32, float16, int8 or binary.
        vector_type: fixed or list, of the Parquet columns with vectors.
        orientation: as_stored or upright, of images.
        rows_per_shard: Rows of the input in a part.
        format: parquet, or npy for vectors in files of their own.
    """

    text: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    id: str | None = None
    model: str = ""
    encoding: str = "float32"
    vector_type: str = "fixed"
    orientation: str = "as_stored"
    rows_per_shard: int = ROWS_PER_SHARD
    format: str = PARQUET


def check(wanted: Wanted) -> None:
    """Raises DataError for a word that nobody knows, before anything depends on it."""
    known: Mapping[str, Collection[str]] = {
        "encoding": DTYPES,
        "vector_type": VECTOR_TYPES,
        "orientation": ORIENTATIONS,
        "format": FORMATS,
    }
    for name, words in known.items():
        if (given := getattr(wanted, name)) not in words:
            raise DataError(f"{name} is one of {', '.join(words)}, not {given!r}")
    if wanted.rows_per_shard < 1:
        raise DataError("a shard holds at least one row")


@dataclass(frozen=True)
class Summary:
    """What an output holds, and what the run took.

    Attributes:
        rows: Of the input.
        embedded: Rows that have their vectors.
        errors: Rows that are in the errors tables.
        seconds: That the run took.
        rows_per_second: Of the rows that this run worked on.
        times: Seconds of reading, preparing, waiting for the server, writing.

    >>> summary = bulk.run("captions.jsonl", "vectors", client=client)
    >>> summary.rows, summary.embedded, summary.errors
    (2, 2, 0)
    """

    rows: int
    embedded: int
    errors: int
    seconds: float
    rows_per_second: float
    times: dict[str, float] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """The last line of the command."""
        found = asdict(self)
        found.pop("times")
        return found | {"seconds": round(self.seconds, 3), "rows_per_second": round(self.rows_per_second, 1)}

    @property
    def slowest(self) -> str:
        """What took the longest."""
        return max(self.times, key=lambda name: self.times[name]) if self.times else ""


@dataclass(frozen=True)
class Options:
    """What may be chosen for a run, beside what its vectors depend on.

    Attributes:
        fresh: Begin anew; what an earlier run made is removed.
        extend: The input has new files after those of before.
        retry_failed: Try the rows again that failed.
        max_errors: Stop at so many failed rows.
        patience: Seconds without any progress until the run gives up.
    """

    fresh: bool = False
    extend: bool = False
    retry_failed: bool = False
    max_errors: int | None = None
    patience: float = 600.0


@dataclass(frozen=True)
class Task:
    """A part that is to be made. earlier: the part there is, whose vectors are taken over."""

    number: int
    first: int
    rows: int
    earlier: Part | None = None


def begin(found: Manifest | None, wanted: Manifest, options: Options) -> Manifest:
    """The manifest that the run begins with. Raises DataError where the output does not fit."""
    if options.extend:
        if found is None:
            raise DataError("there is no output of a bulk job to extend")
        problems = grown(found, wanted)
    elif found is None or options.fresh:
        return wanted
    else:
        problems = misfits(found, wanted)
        if not problems and found.rows != wanted.rows:  # of another version, which reads the files otherwise
            problems = [f"input: {found.rows:,} rows before, {wanted.rows:,} now"]
    if problems:
        hint = "" if options.extend else "; --fresh begins anew, `altclip bulk extend` adds new files"
        raise DataError(f"the output was made otherwise: {'; '.join(problems)}{hint}")
    return replace(found, input=wanted.input, rows=wanted.rows, state=RUNNING)


def tasks(manifest: Manifest, size: int, is_whole: Callable[[Part], bool], *, retry: bool) -> list[Task]:
    """The parts that are missing, are not what was written, hold too few rows, or hold rows to try again.

    size: rows of the input in a part. is_whole: whether a part's files are what was written.
    """
    there, layout = {part.name: part for part in manifest.parts}, manifest.layout
    found = []
    for task in _all(manifest.rows, size):
        part = there.get(layout.main(task.number))
        if part is None or not is_whole(part):
            found.append(task)
        elif part.rows + part.errors != task.rows or (retry and part.errors):
            found.append(replace(task, earlier=part))
    return found


def _all(rows: int, size: int) -> Iterator[Task]:
    """All parts of so many rows; an input without rows has one part without rows."""
    for number in range(max(1, -(-rows // size))):
        yield Task(number, number * size, min(size, rows - number * size))


def runs(given: list[Task]) -> Iterator[list[Task]]:
    """The tasks in runs that follow each other in the input, so that each run is read in one go."""
    run: list[Task] = []
    for task in given:
        if run and task.number != run[-1].number + 1:
            yield run
            run = []
        run.append(task)
    if run:
        yield run
