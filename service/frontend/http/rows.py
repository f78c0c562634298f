"""Writing embeddings as JSON: numbers or base64, in one of four types. Pure but for the turns it takes.

    float32 rows ─ type ─▶ arrays ─ numbers: orjson writes the array; base64: its little-endian bytes ─▶ JSON

A float32 is written with as few digits as give it back to the last bit. No number becomes a Python object.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from service.frontend.api import encodings
from service.frontend.api.messages import Encoding, Matrix

__all__ = ["ENCODINGS", "Row", "embedding_rows", "json_list"]

ENCODINGS: Mapping[str, Encoding] = {
    "float32": Encoding.FLOAT32,
    "float": Encoding.FLOAT32,
    "float16": Encoding.FLOAT16,
    "int8": Encoding.INT8,
    "binary": Encoding.BINARY,
}

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
        yield (base64.b64encode(row.tobytes()).decode() if as_base64 else row), scale


async def json_list(objects: Sequence[Any], numbers: int) -> orjson.Fragment:
    """The objects as a JSON list, to stand in another value. numbers: how many all of them hold, about.

    Long lists are written in parts, between which other calls have their turn.
    """
    parts = max(1, -(-numbers // NUMBERS_AT_ONCE))
    size = max(1, -(-len(objects) // parts))
    written = []
    for start in range(0, len(objects), size):
        if start:
            await asyncio.sleep(0)
        some = orjson.dumps(objects[start : start + size], option=orjson.OPT_SERIALIZE_NUMPY)
        written.append(some[1:-1])
    return orjson.Fragment(b"[" + b",".join(written) + b"]")
