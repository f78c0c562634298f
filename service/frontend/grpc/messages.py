"""Translates the messages of EmbeddingService to those of `api/messages.py`, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api import encodings, validation
from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import (
    Classification,
    Encoding,
    Image,
    Item,
    Matrix,
    Options,
    Orientation,
    ScoreRow,
    StreamItem,
    StreamResults,
    Timings,
    Variant,
)
from service.frontend.grpc.status import duration, status
from worker.runtime.notices import Priority

__all__ = [
    "STATES",
    "TRUNCATIONS",
    "classification",
    "embeddings",
    "images",
    "items",
    "one_of",
    "options",
    "orientation",
    "priority",
    "score_row",
    "stream_items",
    "stream_response",
    "strings",
    "timings",
]

Chosen = TypeVar("Chosen")

DEFAULT_OPTIONS = Options()
PRIORITIES = {
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BULK: Priority.BULK,
}
STATES = {
    pb.PROMPT_STATES_UNSPECIFIED: Variant.ALTDIFFUSION,
    pb.PROMPT_STATES_ALTDIFFUSION: Variant.ALTDIFFUSION,
    pb.PROMPT_STATES_ALTCLIP: Variant.ALTCLIP,
}
TRUNCATIONS = {pb.TRUNCATION_UNSPECIFIED: False, pb.TRUNCATION_TRUNCATE: False, pb.TRUNCATION_REJECT: True}


def priority(value: int, default: Priority, path: str = "priority") -> Priority:
    """The priority of a call."""
    return default if value == pb.PRIORITY_UNSPECIFIED else one_of(path, value, PRIORITIES)


def one_of(path: str, value: int, kinds: Mapping[Any, Chosen]) -> Chosen:
    """What the enum's value stands for; refuses one that the API does not name."""
    if value not in kinds:
        raise InvalidRequest.at(path, f"{value} is not one of its values")
    return kinds[value]


def options(value: pb.EmbeddingOptions, path: str = "options") -> Options:
    """How embeddings are wanted."""
    if not value.ByteSize():
        return DEFAULT_OPTIONS
    return Options(
        encoding=validation.choice(f"{path}.encoding", value.encoding, Encoding, Encoding.FLOAT32),
        normalize=value.normalize if value.HasField("normalize") else True,
        reject=one_of(f"{path}.truncation", value.truncation, TRUNCATIONS),
        orientation=orientation(f"{path}.orientation", value.orientation),
    )


def orientation(path: str, value: int) -> Orientation:
    """Whether pictures are turned."""
    return validation.choice(path, value, Orientation, Orientation.AS_STORED)


# Both lists are counted first: millions of empty messages fit into one request, and each takes its time.


def strings(path: str, values: Sequence[str], most: int) -> list[str]:
    """The texts, labels or templates of a call, at most so many."""
    validation.at_most(path, len(values), most)
    return list(values)


def images(path: str, values: Sequence[pb.Image], most: int) -> list[Image]:
    """The pictures of a call, at most so many."""
    validation.at_most(path, len(values), most)
    return [image(each) for each in values]


def items(path: str, values: Sequence[pb.Item], most: int) -> list[Item]:
    """One side of a comparison, of at most so many items."""
    validation.at_most(path, len(values), most)
    return [item(each) for each in values]


def image(value: pb.Image) -> Image:
    """A picture, or an empty one where none is set."""
    match value.WhichOneof("source"):
        case "content":
            return Image(content=value.content)
        case "uri":
            return Image(uri=value.uri)
        case _:
            return Image()


def item(value: pb.Item) -> Item:
    """One item of a comparison, or an empty one where none is set."""
    match value.WhichOneof("item"):
        case "text":
            return Item(text=value.text)
        case "image":
            return Item(image=image(value.image))
        case "vector":
            return Item(vector=value.vector)
        case _:
            return Item()


def stream_items(message: pb.EmbedStreamRequest, most: int) -> Sequence[StreamItem]:
    """The items of one message; raises what ends the stream."""
    match message.WhichOneof("message"):
        case "batch":
            validation.at_most("batch.items", len(message.batch.items), most)
            return [stream_item(each) for each in message.batch.items]
        case "config":
            raise InvalidRequest.at("config", "may only be the first message")
        case _:
            raise InvalidRequest.at("batch", "set batch")


def stream_item(value: pb.StreamItem) -> StreamItem:
    """One item, or one without content where none is set."""
    match value.WhichOneof("item"):
        case "text":
            return StreamItem(value.id, text=value.text)
        case "image":
            return StreamItem(value.id, image=image(value.image))
        case _:
            return StreamItem(value.id)


# These write into the answer where they belong: a message made apart is copied when it is put there.


def embeddings(into: pb.Embeddings, rows: Matrix, encoding: Encoding) -> None:
    """Rows in the encoding that was asked for."""
    data, scales = encodings.encode(rows, encoding)
    into.encoding = int(encoding)  # type: ignore[assignment]
    into.count, into.dimension = rows.shape
    into.data = data
    if scales:
        into.scales.extend(scales)


def score_row(into: pb.ScoreRow, row: ScoreRow) -> None:
    """The scores of one query. They are packed here: a million as Python floats would take 70 ms, not 2."""
    packed = row.scores.astype("<f4", copy=False).tobytes()
    field = bytearray(b"\x0a")  # field 1, length-delimited
    size = len(packed)
    while size > 0x7F:
        field.append(size & 0x7F | 0x80)
        size >>= 7
    field.append(size)
    into.MergeFromString(bytes(field) + packed)
    if row.indices is not None:
        into.indices.extend(row.indices.tolist())


def classification(into: pb.Classification, result: Classification, labels: Sequence[str]) -> None:
    """The labels of one picture."""
    add = into.labels.add
    for index, probability in zip(result.indices.tolist(), result.probabilities.tolist(), strict=True):
        add(label=labels[index], index=index, probability=probability)


def timings(into: pb.Timings, value: Timings) -> None:
    """How long the work took."""
    duration(into.queue_duration, value.queue_seconds)
    duration(into.inference_duration, value.inference_seconds)
    into.batch_size = value.batch_size


def stream_response(results: StreamResults, encoding: Encoding) -> pb.EmbedStreamResponse:
    """One message of results. `embeddings` is there only where some item has one."""
    response = pb.EmbedStreamResponse(
        ids=results.ids,
        errors=[pb.StreamError(id=name, status=status(error)) for name, error in results.errors],
        truncated=results.truncated,
        revision=results.revision,
        token_counts=results.token_counts,
    )
    if rows := results.rows:
        embeddings(response.embeddings, np.concatenate(rows) if len(rows) > 1 else rows[0], encoding)
    timings(response.timings, results.timings)
    return response
