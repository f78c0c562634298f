"""From the service's messages to results: pure functions, one for each answer.

An answer whose parts do not fit together raises `Internal`: better no vector than a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from altclip.errors import Internal
from altclip.results import Embeddings, Limits, Model, Timings
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import model_service_pb2 as model_pb

DTYPES: dict[int, np.dtype[Any]] = {
    pb.ENCODING_FLOAT32: np.dtype("<f4"),
    pb.ENCODING_FLOAT16: np.dtype("<f2"),
    pb.ENCODING_INT8: np.dtype("i1"),
    pb.ENCODING_BINARY: np.dtype("u1"),
}


def model(message: model_pb.Model) -> Model:
    """A model from its message."""
    limits = Limits(**{name: getattr(message.limits, name) for name in Limits.__slots__})
    lists: dict[str, Any] = {"languages": tuple(message.languages), "aliases": tuple(message.aliases)}
    plain = {name: getattr(message, name) for name in Model.__slots__ if name not in {*lists, "limits"}}
    return Model(**plain, **lists, limits=limits)


def timings(message: pb.Timings) -> Timings:
    """Durations in seconds."""
    return Timings(
        message.queue_duration.ToTimedelta().total_seconds(),
        message.inference_duration.ToTimedelta().total_seconds(),
        message.batch_size,
    )


def slowest(all_timings: Sequence[Timings]) -> Timings:
    """The largest of each figure, for a call that was made in parts."""
    return Timings(
        max(t.queue for t in all_timings),
        max(t.inference for t in all_timings),
        max(t.batch_size for t in all_timings),
    )


def embeddings(message: pb.Embeddings) -> Embeddings:
    """A matrix from its message, in memory of its own. Raises Internal where sizes do not fit together."""
    if message.encoding not in DTYPES:
        raise Internal(f"the answer has an encoding that this client does not know: {message.encoding}")
    width = -(-message.dimension // 8) if message.encoding == pb.ENCODING_BINARY else message.dimension
    scales = np.array(message.scales, np.float32)
    if message.encoding == pb.ENCODING_INT8 and len(scales) != message.count:
        raise Internal(f"the answer has {len(scales)} scales for {message.count} embeddings")
    return Embeddings(
        encoding=pb.Encoding.Name(message.encoding).removeprefix("ENCODING_").lower(),
        dimension=message.dimension,
        codes=array(message.data, DTYPES[message.encoding], (message.count, width)),
        scales=scales,
    )


def rows(message: pb.Embeddings) -> list[Embeddings]:
    """A matrix as one matrix for each row; they share the memory."""
    whole = embeddings(message)
    return [
        Embeddings(whole.encoding, whole.dimension, whole.codes[i : i + 1], whole.scales[i : i + 1])
        for i in range(len(whole))
    ]


def array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of its own from bytes. Raises Internal for another length."""
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise Internal(f"the answer has {len(data)} bytes where {expected} belong")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def joined(matrices: Sequence[Embeddings]) -> Embeddings:
    """The rows of several matrices, one after another."""
    if len(matrices) == 1:
        return matrices[0]
    first = matrices[0]
    codes = np.concatenate([matrix.codes for matrix in matrices])
    return Embeddings(first.encoding, first.dimension, codes, np.concatenate([m.scales for m in matrices]))


def prompt(message: pb.EncodePromptResponse) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """States [n, tokens, state dimension] and mask [n, tokens]. Raises Internal where sizes do not fit."""
    if message.encoding not in (pb.ENCODING_FLOAT32, pb.ENCODING_FLOAT16):
        raise Internal(f"the answer has states in an encoding that does not belong there: {message.encoding}")
    positions = (message.count, message.token_count)
    states = array(message.data, DTYPES[message.encoding], (*positions, message.dimension))
    return states, array(message.attention_mask, np.dtype("u1"), positions)
