"""The bookkeeping of a stream: which items are on their way, when there is room for more, and what an answer
means for them.

Everything that decides about a stream is here, without threads, tasks or sockets; the clients only move
messages. An item counts against the window from the moment when it is taken from the caller's iterator until
the caller has taken its result. This one limit covers the whole way, so neither a slow server nor a slow
consumer makes memory grow. On the wire the id of an item is its position: the caller's ids may be anything.

A stream outlives the call that carries it: when a server drains or a connection breaks, another call is
opened, and each item that has no answer is sent once more over that one. So every item has exactly one
result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from altclip import inputs
from altclip.calls import answers, status
from altclip.calls.plan import check_size
from altclip.errors import AltClipError, Internal, InvalidArgument, RevisionChanged, UnreadableInput
from altclip.results import Limits, StreamResult
from altclip.v1 import embedding_service_pb2 as pb

Content: TypeAlias = "str | inputs.ImageSource | AltClipError"
StreamInput: TypeAlias = "Content | tuple[object, Content]"
"""An item of a stream: a text (`str`) or a picture, alone or after an id of its own in a tuple. An
`AltClipError` in its place comes back as the item's error: so a producer tells what it could not read, and
the stream goes on.

>>> items: list[StreamInput] = ["a cat", Path("cat.png"), ("mine", "a dog")]
>>> sorted(str(result.id) for result in client.embed_stream(items))
['0', '1', 'mine']
"""

WINDOW = 512
"""How many items of a stream may be on their way."""

WINDOW_BYTES = 64 << 20
"""How many bytes of items may be on their way; the item that crosses this line is the last."""

# A message waits for nothing: it takes the items that are at hand, up to these. Both are far below what a
# server takes by default; a larger item has a message of its own.
MESSAGE_ITEMS = 64
MESSAGE_BYTES = 1 << 20

MOST_TRIES = 5
"""How often an item is sent before the stream fails: as often as the channel tries a call."""

PAUSE = 0.2
"""Seconds before another call is opened, where the server does not say."""

BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})
"""What gRPC reports of a connection that broke, or of a proxy that gave up a call. The service's own errors
with these codes have a reason."""


@dataclass(slots=True)
class _Sent:
    id: object
    size: int
    message: pb.StreamItem | None = None
    tries: int = 0


class Ledger:
    """The items of one stream that are on their way. Not thread-safe: the caller holds a lock."""

    def __init__(self, window: int = WINDOW, window_bytes: int = WINDOW_BYTES) -> None:
        if window < 1:
            raise InvalidArgument.at("window", f"a window holds at least one item, not {window}")
        self._window = window
        self._window_bytes = window_bytes
        self._next = 0
        self._bytes = 0
        self._waiting: deque[int] = deque()
        self._unanswered: dict[int, _Sent] = {}
        self._untaken: dict[int, _Sent] = {}
        self._progress = False
        self._revision = ""
        self.all_given = False
        """Whether the caller's iterator has ended."""

    @property
    def has_room(self) -> bool:
        """Whether another item may be taken from the caller's iterator."""
        return len(self._unanswered) + len(self._untaken) < self._window and self._bytes < self._window_bytes

    @property
    def finished(self) -> bool:
        """Whether every item that there is has its answer."""
        return self.all_given and not self._unanswered

    def admit(self, given: Any) -> tuple[object, Content, int]:
        """Gives an item its position; returns its id, its content and the position."""
        index, self._next = self._next, self._next + 1
        if not isinstance(given, tuple):
            return index, given, index
        if len(given) != 2:
            what = f"an item is a content or (id, content), not a tuple of {len(given)}"
            return index, UnreadableInput.at(f"items[{index}]", what), index
        return given[0], given[1], index

    def queue(self, identity: object, message: pb.StreamItem) -> None:
        """Counts an item that is to be sent."""
        index, size = int(message.id), message.ByteSize()
        self._unanswered[index] = _Sent(identity, size, message)
        self._bytes += size
        self._waiting.append(index)

    def next_to_send(self) -> pb.StreamItem | None:
        """Takes the next item for the server; None while there is none."""
        while self._waiting:
            item = self._unanswered.get(self._waiting.popleft())
            if item is not None:
                item.tries += 1
                return item.message
        return None

    def broke(self, error: AltClipError) -> float:
        """The call ended before its time: all that has no answer is to be sent once more, over another call.

        Returns the seconds to wait before. Raises `error` where another call cannot help: the channel has
        already tried one that gave no answer at all as often as it may.
        """
        progress, self._progress = self._progress, False
        tries = max((item.tries for item in self._unanswered.values()), default=0)
        if not (progress and is_passing(error)) or tries >= MOST_TRIES:
            raise error
        self._waiting = deque(self._unanswered)
        return PAUSE if error.retry_after is None else error.retry_after

    def failed_here(self, identity: object, index: int, error: AltClipError) -> StreamResult:
        """Counts an item that never reaches the server."""
        self._untaken[index] = _Sent(identity, 0)
        return StreamResult(identity, index, error=error)

    def answered(self, response: pb.EmbedStreamResponse, request_id: str) -> list[StreamResult]:
        """The results in a message of the server.

        Raises Internal for one that nobody asked for, and RevisionChanged where another server goes on with
        other weights.
        """
        if response.revision and self._revision not in ("", response.revision):
            raise RevisionChanged(
                f"the weights changed within the stream, from {self._revision} to {response.revision}",
                request_id=request_id,
            )
        self._revision = self._revision or response.revision
        self._progress = True
        rows = answers.rows(response.embeddings) if response.ids else []
        if len(rows) != len(response.ids):
            raise Internal("a message has not as many embeddings as ids", request_id=request_id)
        timings, cut = answers.timings(response.timings), set(response.truncated)
        results = []
        for row, wire_id in enumerate(response.ids):
            item = self._close(wire_id, request_id)
            result = StreamResult(
                id=item.id,
                index=int(wire_id),
                embeddings=rows[row],
                truncated=row in cut,
                token_count=response.token_counts[row] if response.token_counts else 0,
                revision=response.revision,
                timings=timings,
            )
            results.append(result)
        for failed in response.errors:
            item = self._close(failed.id, request_id)
            error = status.from_status(failed.status, request_id=request_id)
            results.append(StreamResult(item.id, int(failed.id), error=error, timings=timings))
        return results

    def taken(self, result: StreamResult) -> None:
        """Makes room: the caller is done with a result."""
        self._bytes -= self._untaken.pop(result.index).size

    def ended(self, request_id: str) -> None:
        """The server ended the stream. Raises Internal where it left items without an answer."""
        if self._unanswered:
            raise Internal(
                f"the server ended the stream and left {len(self._unanswered)} items unanswered",
                request_id=request_id,
            )

    def _close(self, wire_id: str, request_id: str) -> _Sent:
        item = self._unanswered.pop(int(wire_id), None) if wire_id.isdecimal() else None
        if item is None:
            raise Internal(
                f"the server answered an item that was not open: {wire_id!r}", request_id=request_id
            )
        item.message = None
        self._untaken[int(wire_id)] = item
        return item


def is_passing(error: AltClipError) -> bool:
    """Whether what ended a call says nothing against the items: another call may answer them."""
    broken = not error.reason and error.code in BROKEN and isinstance(error.__cause__, grpc.RpcError)
    return error.retryable or broken


def item_message(
    index: int, content: Content, orientation: inputs.Orientation = "as_stored"
) -> pb.StreamItem:
    """An item as a message; a file is read. Raises AltClipError for what cannot be sent."""
    if isinstance(content, AltClipError):
        raise content
    field = f"items[{index}]"
    try:
        if isinstance(content, str):
            return pb.StreamItem(id=str(index), text=inputs.text_of(content, field))
        return pb.StreamItem(id=str(index), image=inputs.image_of(content, field, orientation))
    except AltClipError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UnreadableInput(str(error), reason=UnreadableInput.reason_here) from error


def is_large(item: pb.StreamItem) -> bool:
    """Whether the server's limits must be known before this item is sent."""
    return item.ByteSize() > MESSAGE_BYTES


def check_item(item: pb.StreamItem, limits: Limits | None) -> None:
    """Raises MessageTooLarge for an item that no message has room for; sent, it would end the stream. Nothing
    is known to be too large where the limits are not known."""
    if limits is None:
        return
    request = pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[item]))
    check_size(f"items[{item.id}]", request.ByteSize(), limits)


def config_message(
    model: str,
    encoding: inputs.Encoding,
    normalize: bool,
    truncation: inputs.Truncation,
    orientation: inputs.Orientation,
    priority: inputs.Priority,
) -> pb.EmbedStreamRequest:
    """The first message of a stream. Raises TypeError or InvalidArgument for an argument that is wrong."""
    return pb.EmbedStreamRequest(
        config=pb.StreamConfig(
            model=inputs.text_of(model, "model"),
            options=inputs.embedding_options(encoding, normalize, truncation, orientation),
            priority=inputs.choose(inputs.PRIORITIES, priority, "priority"),
        )
    )


def batch_message(
    first: pb.StreamItem, another: Callable[[], pb.StreamItem | None]
) -> tuple[pb.EmbedStreamRequest, pb.StreamItem | None]:
    """A message of `first` and what `another` has at hand, until it gives None or the message is full.

    Returns also the item that was taken but has no room: it begins the next message.
    """
    request = pb.EmbedStreamRequest(batch=pb.StreamBatch(items=[first]))
    items, size = request.batch.items, first.ByteSize()
    while len(items) < MESSAGE_ITEMS and (item := another()) is not None:
        size += item.ByteSize()
        if size > MESSAGE_BYTES:
            return request, item
        items.append(item)
    return request, None
