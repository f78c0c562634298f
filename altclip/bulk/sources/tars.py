"""A webdataset as a source: tar files, plain or compressed with gzip, whose members of one key are a row.

The columns are `key`, and one for each kind of text member, called by its suffix: `txt`, `json`, `cls`,
`zh.txt`. The image is embedded as the column `image`, which is not written. Other members are passed over,
and so are hidden ones, which archives from macOS have beside each file. A row with a text that is not UTF-8
cannot be read.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from altclip.bulk.sources.files import IMAGES, Found, decompressed
from altclip.bulk.sources.locations import Location, reading
from altclip.bulk.sources.source import BATCH_BYTES, BATCH_ROWS, changed
from altclip.datasets.items import DataError, is_hidden
from altclip.datasets.shards import split_name
from altclip.datasets.text import decode

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = frozenset({"txt", "json", "cls", "text", "caption"})
KEY, IMAGE = "key", "image"
LARGEST_MEMBER = 1 << 30
UNREADABLE = ""
"""Where a row says why it cannot be read. No member has this name."""

Row = dict[str, Any]


class TarSource:
    """See `Source`. It is read twice: the first time finds the columns, counts the rows, and refuses a file
    that is damaged. Raises DataError that names the file and the member."""

    hidden: frozenset[str] = frozenset({IMAGE})

    def __init__(self, found: Found) -> None:
        import pyarrow as pa

        self.base = found.base
        self._unreadable: dict[int, str] = {}  # filled as texts are read, which the first reading does not do
        self.unreadable: Mapping[int, str] = self._unreadable
        self._files: list[tuple[Location, int]] = []
        names: dict[str, None] = {}
        for path in found.files:
            count = 0
            for row in _rows(path, contents=False):
                count += 1
                names.update(dict.fromkeys(name for name in row if name not in (KEY, IMAGE)))
            self._files.append((path, count))
        self.rows = sum(count for _, count in self._files)
        fields = [(KEY, pa.string()), *((name, pa.string()) for name in sorted(names)), (IMAGE, pa.binary())]
        self.schema: pa.Schema = pa.schema(fields)

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """See `Source`."""
        before = 0
        for path, count in self._files:
            before += count
            if first >= count:
                first -= count
                continue
            waiting: list[Row] = []
            size, place = 0, before - count - 1
            for place, row in enumerate(_rows(path, contents=True), before - count):
                if place == before:
                    raise changed(path)
                if UNREADABLE in row:
                    self._unreadable[place] = row[UNREADABLE]
                waiting.append(row)
                size += len(row.get(IMAGE) or b"")
                if len(waiting) == BATCH_ROWS or size > BATCH_BYTES:
                    yield from self._batch(waiting, first)
                    first = max(0, first - len(waiting))
                    waiting, size = [], 0
            if place != before - 1:
                raise changed(path)
            yield from self._batch(waiting, first)
            first = 0

    def _batch(self, rows: list[Row], first: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        if first < len(rows):
            yield pa.RecordBatch.from_pylist(rows[first:], schema=self.schema)


def _rows(path: Location, *, contents: bool) -> Iterator[Row]:
    """The samples of a tar file. Without `contents` images are empty, and plain files are skipped through."""
    try:
        with (
            reading(path),
            decompressed(path) as file,
            # Of a name that is not UTF-8 it gives the bytes as text: a table holds Unicode only.
            tarfile.open(fileobj=file, mode="r:", errors="backslashreplace") as archive,
        ):
            yield from _samples(path, archive, contents=contents)
            _check_end(path, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole tar file ({error})") from None


def _samples(path: Location, archive: tarfile.TarFile, *, contents: bool) -> Iterator[Row]:
    row: Row | None = None
    # Members are not kept, as `for member in archive` would: a file may hold millions.
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed does not have it
        if not member.isreg() or is_hidden(member.name):
            continue
        key, suffix = split_name(member.name)
        where = f"{path}: {member.name}"
        if row is None or row[KEY] != key:
            if row is not None:
                yield row
            row = {KEY: key}
        kind = suffix.rpartition(".")[2]
        name = IMAGE if kind in IMAGES else suffix
        if kind not in IMAGES | TEXTS:
            continue
        if name in row:
            raise DataError(f"{where}: its sample has such a member already")
        if member.size > LARGEST_MEMBER:
            raise DataError(f"{where}: {member.size:,} bytes are too many")
        row[name] = None
        if contents:
            stream = archive.extractfile(member)
            content = stream.read() if stream else b""
            try:
                row[name] = content if name == IMAGE else decode(content, where)
            except DataError as error:
                row[UNREADABLE] = str(error)
    if row is not None:
        yield row


def _check_end(path: Location, file: IO[bytes]) -> None:
    """After the first block of zeros, which tarfile has read, an archive has another one and nothing more. A
    damaged header, too, ends the reading without an error."""
    found = False
    while block := file.read(1 << 20):
        found = True
        if block.strip(b"\0"):
            raise DataError(f"{path}: damaged: there is more behind the last member that can be read")
    if not found:
        raise DataError(f"{path}: ends without the mark of an archive's end; it was cut short")
