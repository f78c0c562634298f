"""Which files a part consists of, and what they are called. Pure.

    parquet  part-00000.parquet                   the columns of the input, and the vectors
    npy      metadata/metadata_00000.parquet      the columns of the input, in LAION's layout
             img_emb/img_emb_00000.npy            the vectors of the image column, row by row the same rows
             text_emb/text_emb_00000.npy          those of the text column
    both     errors/part-00000.parquet            the rows that failed

Of several columns with images, or with texts, each has a folder of its own: NAME_emb.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from altclip.bulk.columns import Embedded
from altclip.datasets.items import DataError

PARQUET, NPY = "parquet", "npy"
FORMATS = (PARQUET, NPY)
ERRORS, METADATA = "errors", "metadata"


@dataclass(frozen=True)
class Layout:
    """The files of an output.

    Attributes:
        form: parquet or npy.
        arrays: With npy the name of each embedded column's folder, in their order.
    """

    form: str = PARQUET
    arrays: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the output."""
        return (ERRORS, METADATA, *self.arrays) if self.form == NPY else (ERRORS,)

    def main(self, number: int) -> str:
        """The file of a part with the columns of the input."""
        return (
            f"{METADATA}/metadata_{number:05d}.parquet" if self.form == NPY else f"part-{number:05d}.parquet"
        )

    def array(self, folder: str, number: int) -> str:
        """The file of a part with the vectors of a column."""
        return f"{folder}/{folder}_{number:05d}.npy"

    def files(self, number: int) -> list[str]:
        """All files of a part."""
        arrays = [self.array(folder, number) for folder in self.arrays]
        return [self.main(number), *arrays, errors_name(self.main(number))]


def errors_name(name: str) -> str:
    """The file of the errors table that belongs to a part's file."""
    number = re.findall(r"\d+", name)[-1]
    return f"{ERRORS}/part-{number}.parquet"


def layout_of(form: str, columns: Sequence[Embedded]) -> Layout:
    """The layout for these columns. Raises DataError where a column cannot be a folder's name."""
    if form == PARQUET:
        return Layout()
    if form != NPY:
        raise DataError(f"the format is one of {', '.join(FORMATS)}, not {form!r}")
    kinds = [column.is_text for column in columns]
    names = []
    for column in columns:
        only = kinds.count(column.is_text) == 1
        names.append(("text_emb" if column.is_text else "img_emb") if only else f"{column.name}_emb")
        if "/" in column.name or column.name.startswith("."):
            raise DataError(f"the column {column.name!r} cannot be the name of a folder: rename it")
    if len({ERRORS, METADATA, *names}) < 2 + len(names):
        raise DataError(f"two columns would share a folder ({', '.join(names)}): rename one")
    return Layout(form, tuple(names))


def columns_of(options: Mapping[str, Any]) -> list[Embedded]:
    """The columns that were embedded, as a manifest names them."""
    texts, images = options["text"], options["image"]
    return [*(Embedded(name, True) for name in texts), *(Embedded(name, False) for name in images)]
