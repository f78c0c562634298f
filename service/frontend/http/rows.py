"""Writing embeddings as JSON: numbers or base64, in one of some types. Pure but for the turns it takes.

    float32 rows ─ type ─▶ arrays ─ numbers: orjson writes the array; base64: its little-endian bytes ─▶ JSON

A float32 is written with as few digits as give it back to the last bit. No number becomes a Python object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import orjson
import pybase64

from service.frontend.api import encodings
from service.frontend.api.messages import Encoding, Matrix

__all__ = ["ENCODINGS", "NUMBERS", "Numbers", "Row", "embedding_rows", "json_list", "number_rows", "numbers"]

ENCODINGS: Mapping[str, Encoding] = {
    "float32": Encoding.FLOAT32,
    "float": Encoding.FLOAT32,
    "float16": Encoding.FLOAT16,
    "int8": Encoding.INT8,
    "binary": Encoding.BINARY,
}

Numbers = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""Types as other vendors' clients name them: `numbers` makes each of them from one of the core's."""
NUMBERS: Mapping[str, Numbers] = {name: name for name in get_args(Numbers)}

NUMBERS_AT_ONCE = 1 << 17
"""Numbers that are written without a pause: about 3 ms."""

_TYPES: Mapping[Encoding, npt.DTypeLike] = {
    Encoding.FLOAT32: "<f4",
    Encoding.FLOAT16: "<f2",
    Encoding.INT8: np.int8,
    Encoding.BINARY: np.uint8,
}

Row = tuple[Any, float | None]
"""What stands in JSON for an embedding, and its scale, which only int8 has."""


def embedding_rows(rows: Matrix, encoding: Encoding, *, as_base64: bool) -> Iterator[Row]:
    """Of each row, in order: a numpy array that `json_list` writes as numbers, or a string of base64."""
    data, scales = encodings.encode(rows, encoding)
    written = np.frombuffer(data, _TYPES[encoding]).reshape(len(rows), -1)
    if encoding is Encoding.FLOAT16 and not as_base64:
        written = written.astype(np.float32)
    for index, row in enumerate(written):
        scale = scales[index] if scales else None
        yield (pybase64.b64encode_as_string(row.tobytes()) if as_base64 else row), scale


def numbers(rows: Matrix, kind: Numbers) -> npt.NDArray[Any]:
    """All rows in one array [n, width]; its little-endian bytes are what base64 holds.

    float    float32
    int8     the core's int8, of which the scale is not told: rows of length 1 are compared without it
    uint8    the same + 128
    ubinary  uint8, one bit for each component, most significant first
    binary   the same − 128, as int8
    """
    if kind == "float":
        return rows.astype("<f4", copy=False)
    encoding = Encoding.INT8 if kind in ("int8", "uint8") else Encoding.BINARY
    data, _ = encodings.encode(rows, encoding)
    codes: npt.NDArray[Any] = np.frombuffer(data, np.uint8).reshape(len(rows), -1)
    if kind in ("uint8", "binary"):
        codes = codes ^ 0x80  # adds 128 to an int8, takes 128 from a uint8
    return codes.view(np.int8 if kind in ("int8", "binary") else np.uint8)


def number_rows(rows: Matrix, kind: Numbers, *, as_base64: bool) -> Iterator[Any]:
    """Of each row, in order: what `json_list` writes as numbers, or a string of base64."""
    for row in numbers(rows, kind):
        yield pybase64.b64encode_as_string(row.tobytes()) if as_base64 else row


async def json_list(objects: Sequence[Any], numbers: int) -> Sequence[Any] | orjson.Fragment:
    """The objects as a JSON list, to stand in a `Response`. numbers: how many all of them hold, about.

    Long lists are written in parts, between which other calls have their turn. A short one stays as it is:
    the response writes it with all else, and nothing is copied.
    """
    if numbers <= NUMBERS_AT_ONCE:
        return objects
    parts = -(-numbers // NUMBERS_AT_ONCE)
    size = max(1, -(-len(objects) // parts))
    written = []
    for start in range(0, len(objects), size):
        if start:
            await asyncio.sleep(0)
        some = orjson.dumps(objects[start : start + size], option=orjson.OPT_SERIALIZE_NUMPY)
        written.append(some[1:-1])
    return orjson.Fragment(b"[" + b",".join(written) + b"]")
