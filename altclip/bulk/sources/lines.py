"""Tables that are text, as a source: JSON lines, CSV and TSV, plain or compressed with gzip or zstd.

They are read twice. The first reading counts the rows, finds the types of the columns, and refuses a damaged
file before hours of work; the second one makes batches. Columns of CSV and TSV are strings. In JSON lines a
column has one type; ints and floats together are floats where these hold the ints exactly, and anything else
that is mixed is kept as JSON text.

A line that is too long is a row of JSON lines that cannot be read. In CSV and TSV it may be the middle of a
cell, so that nobody knows where the next row begins: there it ends the reading.

The first reading also keeps where its batches begin, so that a file that is not compressed is read from there
on, and not from its beginning.
"""

from __future__ import annotations

import bisect
import csv
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from altclip.bulk.sources.files import Found, compression_of, decompressed
from altclip.bulk.sources.json_types import Rows, Types, encodes, json_text, storable
from altclip.bulk.sources.locations import Location, reading
from altclip.bulk.sources.source import BATCH_BYTES, BATCH_ROWS, changed
from altclip.datasets.items import DataError
from altclip.datasets.text import LONGEST_LINE, decode, json_object

if TYPE_CHECKING:
    import pyarrow as pa


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
        types = Types()
        header: tuple[str, ...] = ()
        unreadable: dict[int, str] = {}
        before = 0
        for path in found.files:
            count = 0
            marks: list[Mark] = []
            too_long: dict[int, str] = {}
            for start, rows in _chunks(path, self._kind, too_long=too_long):
                names = start.header
                marks.append(start)
                count += len(rows)
                if self._kind == "jsonl":
                    types.widen(rows)
                elif not header:
                    header = names
                elif names != header:
                    raise DataError(f"{path}: other columns than {', '.join(header)}: {', '.join(names)}")
            unreadable |= {before + row: told for row, told in too_long.items()}
            before += count
            self._files.append((path, count, [FIRST] if compression_of(path) else marks))
        self.rows = sum(count for _, count, _ in self._files)
        self.unreadable: Mapping[int, str] = unreadable
        kinds = types.columns
        self._json = {name for name, kind in kinds.items() if kind is None or not storable(kind)}
        self._strings = {name for name in self._json if name in embedded}
        columns = {name: pa.string() if name in self._json else kind for name, kind in kinds.items()}
        columns |= dict.fromkeys(header, pa.string())
        if not columns:
            raise DataError(next(iter(self.unreadable.values()), f"{found.files[0]}: no columns"))
        self.schema: pa.Schema = pa.schema(columns.items())

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """See `Source`."""
        for path, count, marks in self._files:
            if first >= count:
                first -= count
                continue
            start = marks[bisect.bisect_right(marks, first, key=lambda mark: mark.rows) - 1]
            first -= start.rows
            left = count - start.rows
            for _, chunk in _chunks(path, self._kind, start):
                rows = chunk[:left]  # a file that has grown since is read as far as it was
                left -= len(rows)
                if first < len(rows):
                    yield self._batch(path, rows[first:])
                first = max(0, first - len(rows))
                if not left:
                    break
            if left:
                raise changed(path)

    def _batch(self, path: Location, rows: Rows) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = []
        for field in self.schema:
            values = [row.get(field.name) for row in rows]
            if field.name in self._strings:
                values = [value if isinstance(value, str) and encodes(value) else None for value in values]
            elif field.name in self._json:
                values = [None if value is None else json_text(value) for value in values]
            try:
                arrays.append(pa.array(values, field.type))
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
                raise DataError(f"{path}, column {field.name}: {' '.join(str(error).split())}") from None
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _chunks(
    path: Location, kind: str, start: Mark = FIRST, too_long: dict[int, str] | None = None
) -> Iterator[tuple[Mark, Rows]]:
    """The rows of a file from a mark on, some at a time, with the mark of each. Raises DataError.

    too_long: gets the rows that cannot be read, by their place in the file, and why; they have no columns.
    """
    try:
        with reading(path), decompressed(path) as stream:
            lines = _Lines(path, stream, start)
            if kind == "jsonl":
                yield from _json_chunks(lines, start, {} if too_long is None else too_long)
            else:
                yield from _csv_chunks(lines, start, "\t" if kind == "tsv" else ",")
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole compressed file ({error})") from None


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
        for line in self.or_none():
            if line is None:
                raise DataError(self.too_long)
            yield line

    def or_none(self) -> Iterator[str | None]:
        """The lines; None in the place of one that is too long, which is passed over."""
        while line := self._stream.readline(LONGEST_LINE + 1):
            self.number += 1
            self.offset += len(line)
            if len(line) <= LONGEST_LINE:
                yield decode(line, str(self.path), self.number)
                continue
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(1 << 20)
                self.offset += len(line)
            yield None

    @property
    def where(self) -> str:
        """The last line, for messages."""
        return f"{self.path} line {self.number}"

    @property
    def too_long(self) -> str:
        """What is wrong with the last line."""
        return f"{self.where}: longer than {LONGEST_LINE >> 20} MiB"

    def mark(self, rows: int, header: tuple[str, ...] = ()) -> Mark:
        """Where the next line begins."""
        return Mark(rows, self.offset, self.number, header)


def _json_chunks(lines: _Lines, start: Mark, too_long: dict[int, str]) -> Iterator[tuple[Mark, Rows]]:
    rows: Rows = []
    size = 0
    for line in lines.or_none():
        if line is None:
            too_long[start.rows + len(rows)] = lines.too_long
            rows.append({})
        elif not line.strip():
            continue
        else:
            rows.append(json_object(line, lines.where))
            size += len(line)
        if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
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
            if len(rows) == BATCH_ROWS or size > BATCH_BYTES:
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
