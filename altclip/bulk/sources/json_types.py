"""The types of the columns of JSON lines, and values that have none as JSON text. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Rows = list[dict[str, Any]]


def widen(types: dict[str, pa.DataType | None], rows: Rows) -> None:
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


def storable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold it: it has no structs without fields, and ours no numbers of other types than
    JSON's."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(storable(kind.field(n).type) for n in range(kind.num_fields))
    return storable(kind.value_type) if pa.types.is_list(kind) else True


def json_text(value: object) -> str:
    """A value as JSON."""
    # Half a pair of surrogates is valid in JSON and in no string: it stays escaped.
    text = json.dumps(value, ensure_ascii=False)
    return text if encodes(text) else json.dumps(value)


def encodes(text: str) -> bool:
    """Whether a text is Unicode that UTF-8 can hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
