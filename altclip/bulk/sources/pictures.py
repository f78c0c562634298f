"""A folder of images as a source: the columns `path`, `width` and `height`, one row a file.

Widths and heights are those of the stored pixels, read from the file's first bytes; null where they cannot be
told, and such a file is seldom an image that can be embedded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from altclip.bulk.sources.files import Found, below
from altclip.bulk.sources.locations import Location, Remote
from altclip.bulk.sources.source import BATCH_ROWS, NONE_UNREADABLE

if TYPE_CHECKING:
    import pyarrow as pa

HEADER_BYTES = 1 << 16
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "AVIF")


class PictureSource:
    """See `Source`."""

    hidden: frozenset[str] = frozenset()
    unreadable: Mapping[int, str] = NONE_UNREADABLE

    def __init__(self, found: Found) -> None:
        import pyarrow as pa

        self.base = found.base
        self.rows = len(found.files)
        self.schema: pa.Schema = pa.schema(
            [("path", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
        )
        self._files = found.files

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """See `Source`."""
        import pyarrow as pa

        for start in range(first - first % BATCH_ROWS, self.rows, BATCH_ROWS):
            files = self._files[max(start, first) : start + BATCH_ROWS]
            names = [_legible(below(file, self.base)) for file in files]
            sizes = [_size(file) for file in files]
            columns = (names, [size[0] for size in sizes], [size[1] for size in sizes])
            arrays = [
                pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _legible(name: str) -> str:
    """A file's name as Unicode. One that is none cannot be found again under it, and its row fails."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _size(path: Location) -> tuple[int | None, int | None]:
    from PIL import Image

    try:
        if not path.is_file():  # to open a pipe would wait for whoever writes to it
            return None, None
        # Of a store a little is fetched, not as much as its library would read ahead.
        stream = path.open(block_size=HEADER_BYTES) if isinstance(path, Remote) else path.open("rb")
        with warnings.catch_warnings(), stream as file:
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that the service refuses
            with Image.open(file, formats=FORMATS) as image:
                return image.width, image.height
    except Exception:
        return None, None
