"""The types of the columns of JSON lines, and values that have none as JSON text. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Rows = list[dict[str, Any]]

EXACT = 1 << 53
"""A float holds every integer up to this one."""
_ITEMS = "[]"
"""Stands in a place for the items of a list."""


class Types:
    """The types of columns, found in the rows as they come.

    Attributes:
        columns: Each holds all rows so far; None stands for JSON text.
    """

    def __init__(self) -> None:
        self.columns: dict[str, pa.DataType | None] = {}
        # Places in a column with integers that no float holds. Rows with floats may stand far from them.
        self._large: dict[str, set[tuple[str, ...]]] = {}

    def widen(self, rows: Rows) -> None:
        """Makes the types hold these rows, too."""
        import pyarrow as pa

        for name in dict.fromkeys(name for row in rows for name in row):
            if name in self.columns and self.columns[name] is None:
                continue
            values = [row.get(name) for row in rows]
            try:
                self.columns[name] = self._wider(name, pa.array(values).type, values)
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                self.columns[name] = None

    def _wider(self, name: str, found: pa.DataType, values: list[Any]) -> pa.DataType | None:
        """The type of the column for these values, too. Raises what pyarrow raises where there is none.

        found: what pyarrow takes these values alone for.
        """
        import pyarrow as pa

        large = self._large.setdefault(name, set())
        for place, kind, numbers in _numbers(found, values):
            if pa.types.is_floating(kind):
                if bool in set(map(type, numbers)):  # pyarrow would make 1.0 of true
                    return None
            elif max(numbers, default=0) > EXACT or min(numbers, default=0) < -EXACT:
                large.add(place)
        before = self.columns.get(name, found)
        if found != before:
            both = [pa.schema([(name, before)]), pa.schema([(name, found)])]
            found = pa.unify_schemas(both, promote_options="permissive").field(0).type
        floats = {place for place, kind, _ in _numbers(found) if pa.types.is_floating(kind)}
        return None if floats & large else found


def _numbers(
    kind: pa.DataType, values: Sequence[Any] = (), place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], pa.DataType, list[Any]]]:
    """The places of a type where numbers are, their type, and all numbers that the values have there."""
    import pyarrow as pa

    there = [value for value in values if value is not None]
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        yield place, kind, there
    elif pa.types.is_list(kind):
        yield from _numbers(kind.value_type, list(itertools.chain.from_iterable(there)), (*place, _ITEMS))
    elif pa.types.is_struct(kind):
        for field in kind:
            held = [value.get(field.name) for value in there]
            yield from _numbers(field.type, held, (*place, field.name))


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
