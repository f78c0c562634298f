"""Which columns of an input are embedded, and what columns the output has. Pure.

For an embedded column C the output has `C_embedding`, for int8 also `C_scale`, and for texts `C_tokens` and
`C_truncated`. `row` is the place in the whole input.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from altclip.datasets.items import DataError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_NAMES, IMAGE_NAMES = ("text", "caption"), ("image", "path", "url")
ROW = "row"
DTYPES: Mapping[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
    "binary": np.uint8,
}


@dataclass(frozen=True)
class Embedded:
    """A column that is embedded: its name, and whether it holds texts or images."""

    name: str
    is_text: bool


@dataclass(frozen=True)
class Shape:
    """What vectors are like in the output.

    Attributes:
        encoding: float32, float16, int8 or binary.
        dimension: Components of a vector.
        fixed: Whether lists have a fixed size.
    """

    encoding: str
    dimension: int
    fixed: bool = True

    @property
    def width(self) -> int:
        """Numbers in a stored vector: binary holds eight components in one."""
        return -(-self.dimension // 8) if self.encoding == "binary" else self.dimension


def may_be_embedded(texts: Sequence[str], images: Sequence[str]) -> frozenset[str]:
    """The names that `choose` may choose."""
    return frozenset([*texts, *images] if texts or images else [*TEXT_NAMES, *IMAGE_NAMES])


def choose(
    schema: pa.Schema, texts: Sequence[str], images: Sequence[str], identity: str | None
) -> tuple[Embedded, ...]:
    """The columns that are embedded: those that are named, or else the only one that fits. Raises DataError
    that lists the columns."""
    listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
    for name in (*texts, *images, *([identity] if identity is not None else [])):
        if name not in schema.names:
            raise DataError(f"no column {name!r} in the input; there are: {listed}")
    given = [*(Embedded(name, True) for name in texts), *(Embedded(name, False) for name in images)]
    twice = [each.name for n, each in enumerate(given) if each.name in [one.name for one in given[:n]]]
    if twice:
        raise DataError(f"the column {twice[0]!r} is named twice")
    for each in given:
        if not _fits(schema.field(each.name).type, each.is_text):
            what = "texts" if each.is_text else "images"
            raise DataError(f"the column {each.name!r} is {schema.field(each.name).type}: no {what}")
    if not given:
        fitting = [
            Embedded(name, is_text)
            for names, is_text in ((TEXT_NAMES, True), (IMAGE_NAMES, False))
            for name in names
            if name in schema.names and _fits(schema.field(name).type, is_text)
        ]
        if len(fitting) != 1:
            what = "several columns fit" if fitting else "no column fits"
            raise DataError(f"{what}: name one with --text or --image; there are: {listed}")
        given = fitting
    _check_reserved(schema.names, given)
    return tuple(given)


def _fits(kind: pa.DataType, is_text: bool) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _fits(kind.value_type, is_text)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if is_text or text or pa.types.is_null(kind):
        return bool(text or pa.types.is_null(kind))
    if pa.types.is_struct(kind):
        given = [field.type for field in kind if field.name in ("bytes", "path")]
        return bool(given) and all(_fits(each, is_text) for each in given)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _check_reserved(names: Collection[str], columns: Sequence[Embedded]) -> None:
    ours = [ROW, *(name for each in columns for name in added(each))]
    for name in ours:
        if name in names:
            raise DataError(f"the input has a column {name!r}, which the output uses: rename it")


def added(column: Embedded) -> list[str]:
    """All names that an embedded column may add."""
    return [f"{column.name}_{what}" for what in ("embedding", "scale", "tokens", "truncated")]


def output_schema(
    schema: pa.Schema,
    hidden: Collection[str],
    columns: Sequence[Embedded],
    shape: Shape,
    metadata: Mapping[str, str],
    *,
    vectors: bool = True,
) -> pa.Schema:
    """The schema of the parts: the input's columns, `row`, and what each embedded column adds; without
    `vectors` not those, which have files of their own."""
    import pyarrow as pa

    fields = [field for field in schema if field.name not in hidden]
    fields.append(pa.field(ROW, pa.int64(), nullable=False))
    for column in columns:
        fields += embedding_fields(column, shape)[0 if vectors else 1 :]
    return pa.schema(fields, metadata=dict(metadata))


def embedding_fields(column: Embedded, shape: Shape) -> list[pa.Field]:
    """The fields that an embedded column adds, that of the vectors first."""
    import pyarrow as pa

    number = pa.from_numpy_dtype(np.dtype(DTYPES[shape.encoding]))
    item = pa.field("element", number, nullable=False)
    vector = pa.list_(item, shape.width) if shape.fixed else pa.list_(item)
    fields = [pa.field(f"{column.name}_embedding", vector, nullable=False)]
    if shape.encoding == "int8":
        fields.append(pa.field(f"{column.name}_scale", pa.float32(), nullable=False))
    if column.is_text:
        fields.append(pa.field(f"{column.name}_tokens", pa.int32(), nullable=False))
        fields.append(pa.field(f"{column.name}_truncated", pa.bool_(), nullable=False))
    return fields
