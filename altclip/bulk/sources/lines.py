"""Tables that are text, as a source: JSON lines, CSV and TSV, plain or compressed with gzip or zstd.

They are read twice. The first reading counts the rows, finds the types of the columns, and refuses a damaged
file before hours of work; the second one makes batches. Columns of CSV and TSV are strings. In JSON lines a
column has one type; ints and floats together are floats, and anything else that is mixed is kept as JSON
text.

The first reading also keeps where its batches begin, so that a file that is not compressed is read from there
on, and not from its beginning.
"""

from __future__ import annotations

import bisect
import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from altclip.bulk.sources.files import COMPRESSIONS, Found
from altclip.bulk.sources.locations import Location, reading
from altclip.bulk.sources.source import BATCH_ROWS
from altclip.datasets.items import DataError
from altclip.datasets.text import decode

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_LINE = 256 << 20
"""Bytes of a line, and characters of a cell."""

Rows = list[dict[str, Any]]


class Mark(NamedTuple):
    """Where a batch begins in a file: after so many rows, bytes and lines; and the header, of CSV."""

    rows: int = 0
    offset: int = 0
    line: int = 0
    header: tuple[str, ...] = ()


FIRST = Mark()


class LinesSource:
    """See `Source`.

    Args:
        embedded: Columns of JSON lines that may be embedded: what is no string in them is null, and never
            becomes JSON text.

    Raises DataError that names file and line.
    """

    hidden: frozenset[str] = frozenset()

    def __init__(self, found: Found, embedded: Collection[str] = ()) -> None:
        import pyarrow as pa

        self.base = found.base
        self._kind = found.kind
        self._files: list[tuple[Location, int, list[Mark]]] = []
        types: dict[str, pa.DataType | None] = {}
        header: tuple[str, ...] = ()
        for path in found.files:
            count = 0
            marks: list[Mark] = []
            for start, rows in _chunks(path, self._kind):
                names = start.header
                marks.append(start)
                count += len(rows)
                if self._kind == "jsonl":
                    _widen(types, rows)
                elif not header:
                    header = names
                elif names != header:
                    raise DataError(f"{path}: other columns than {', '.join(header)}: {', '.join(names)}")
            compressed = path.suffix.lower() in COMPRESSIONS
            self._files.append((path, count, [FIRST] if compressed else marks))
        self.rows = sum(count for _, count, _ in self._files)
        self._json = {name for name, kind in types.items() if kind is None or not _storable(kind)}
        self._strings = {name for name in self._json if name in embedded}
        columns = {name: pa.string() if name in self._json else kind for name, kind in types.items()}
        columns |= dict.fromkeys(header, pa.string())
        if not columns:
            raise DataError(f"{found.files[0]}: no columns")
        self.schema: pa.Schema = pa.schema(columns.items())

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """See `Source`."""
        for path, count, marks in self._files:
            if first >= count:
                first -= count
                continue
            start = marks[bisect.bisect_right(marks, first, key=lambda mark: mark.rows) - 1]
            first -= start.rows
            for _, rows in _chunks(path, self._kind, start):
                if first >= len(rows):
                    first -= len(rows)
                    continue
                yield self._batch(path, rows[first:])
                first = 0

    def _batch(self, path: Location, rows: Rows) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = []
        for field in self.schema:
            values = [row.get(field.name) for row in rows]
            if field.name in self._strings:
                values = [value if isinstance(value, str) and _encodes(value) else None for value in values]
            elif field.name in self._json:
                values = [None if value is None else _json(value) for value in values]
            try:
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
                raise DataError(f"{path}, column {field.name}: {' '.join(str(error).split())}") from None
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _widen(types: dict[str, pa.DataType | None], rows: Rows) -> None:
    """Makes the types hold these rows, too; None stands for JSON text."""
    import pyarrow as pa

    for name in dict.fromkeys(name for row in rows for name in row):
        if name in types and types[name] is None:
            continue
        try:
            found = pa.array([row.get(name) for row in rows]).type
            if name in types and found != types[name]:
                both = [pa.schema([(name, types[name])]), pa.schema([(name, found)])]
                found = pa.unify_schemas(both, promote_options="permissive").field(0).type
            types[name] = found
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            types[name] = None


def _storable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold it: it has no structs without fields, and ours no numbers of other types than
    JSON's."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_storable(kind.field(n).type) for n in range(kind.num_fields))
    return _storable(kind.value_type) if pa.types.is_list(kind) else True


def _json(value: object) -> str:
    # Half a pair of surrogates is valid in JSON and in no string: it stays escaped.
    text = json.dumps(value, ensure_ascii=False)
    return text if _encodes(text) else json.dumps(value)


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _chunks(path: Location, kind: str, start: Mark = FIRST) -> Iterator[tuple[Mark, Rows]]:
    """The rows of a file from a mark on, some at a time, with the mark of each. Raises DataError."""
    try:
        with reading(path), _opened(path) as stream:
            lines = _Lines(path, stream, start)
            if kind == "jsonl":
                yield from _json_chunks(lines, start)
            else:
                yield from _csv_chunks(lines, start, "\t" if kind == "tsv" else ",")
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole compressed file ({error})") from None


@contextlib.contextmanager
def _opened(path: Location) -> Iterator[IO[bytes]]:
    compression = COMPRESSIONS.get(path.suffix.lower())
    with path.open("rb") as file:
        if compression == "gzip":
            with gzip.open(file, "rb") as stream:
                yield cast(IO[bytes], stream)
        elif compression:
            import pyarrow as pa

            with pa.input_stream(file, compression=compression, buffer_size=1 << 20) as raw:
                yield cast(IO[bytes], io.BufferedReader(raw))
        else:
            yield file


class _Lines:
    """The lines of a file from a mark on, decoded; `number` and `offset` are those of the last one's end."""

    def __init__(self, path: Location, stream: IO[bytes], start: Mark) -> None:
        self.path = path
        self.number = start.line
        self.offset = start.offset
        self._stream = stream
        if start.offset:
            stream.seek(start.offset)

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(LONGEST_LINE + 1):
            self.number += 1
            if len(line) > LONGEST_LINE:
                raise DataError(f"{self.path} line {self.number}: longer than {LONGEST_LINE >> 20} MiB")
            self.offset += len(line)
            yield decode(line, str(self.path), self.number)

    def mark(self, rows: int, header: tuple[str, ...] = ()) -> Mark:
        """Where the next line begins."""
        return Mark(rows, self.offset, self.number, header)


def _json_chunks(lines: _Lines, start: Mark) -> Iterator[tuple[Mark, Rows]]:
    rows: Rows = []
    size = 0
    for line in lines:
        if not line.strip():
            continue
        where = f"{lines.path} line {lines.number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: {error}") from None
        if not isinstance(found, dict):
            raise DataError(f"{where}: not a JSON object")
        rows.append(found)
        size += len(line)
        if len(rows) == BATCH_ROWS or size > LONGEST_LINE // 8:
            following = lines.mark(start.rows + len(rows))
            yield start, rows
            start, rows, size = following, [], 0
    if rows:
        yield start, rows


def _csv_chunks(lines: _Lines, start: Mark, delimiter: str) -> Iterator[tuple[Mark, Rows]]:
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = start.header
    rows: Rows = []
    size, line = 0, start.line + 1
    try:
        for cells in reader:
            where, line = f"{lines.path} line {line}", lines.number + 1
            if not cells:  # a blank line
                continue
            if not header:
                header = tuple(cell.strip() for cell in cells)
                _check_header(where, header)
                start = lines.mark(0, header)
                continue
            if len(cells) != len(header):
                hint = f"quote a cell with {delimiter!r} in it"
                raise DataError(f"{where}: {len(cells)} cells in {len(header)} columns; {hint}")
            rows.append(dict(zip(header, cells, strict=True)))
            size += sum(map(len, cells))
            if len(rows) == BATCH_ROWS or size > LONGEST_LINE // 8:
                following = lines.mark(start.rows + len(rows), header)
                yield start, rows
                start, rows, size = following, [], 0
    except csv.Error as error:
        raise DataError(f"{lines.path} line {max(lines.number, 1)}: {error}") from None
    if header:
        yield start, rows


def _check_header(where: str, header: Sequence[str]) -> None:
    if len(set(header)) < len(header):
        raise DataError(f"{where}: a column's name stands there twice: {', '.join(header)}")
    if "" in header:
        raise DataError(f"{where}: a column has no name")
