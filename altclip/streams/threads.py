"""A stream of the blocking client: threads that move items in and results out, as `ledger.Ledger` says.

    caller's items ─▶ feed (thread) ─▶ outgoing ─▶ gRPC's sending thread ─▶ server
    caller         ◀─ events        ◀─ read (thread) ◀──────────────────── server

The feeding thread exists because a message must not wait for an item that the caller has not made yet. Both
queues are bounded by the ledger's window. The threads are daemons and end with the stream, at the latest when
the caller's iterator gives its next item.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from altclip.calls.connection import Connection
from altclip.errors import AltClipError
from altclip.results import StreamResult
from altclip.streams.ledger import Ledger, StreamInput, batch_message, item_message
from altclip.v1 import embedding_service_pb2 as pb

# What the reading thread says: results, an exception that ends the stream, or None for its proper end.
Event = list[StreamResult] | BaseException | None


class StreamThreads:
    """One stream; used once."""

    def __init__(
        self,
        ledger: Ledger,
        config: pb.EmbedStreamRequest,
        items: Iterable[StreamInput],
        connection: Connection,
        timeout: float | None,
        request_id: str,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._items = items
        self._connection = connection
        self._timeout = timeout
        self._request_id = request_id
        self._changed = threading.Condition()  # guards the ledger, and `_stopped`
        self._stopped = False
        self._outgoing: SimpleQueue[pb.StreamItem | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()

    def results(self) -> Generator[StreamResult, None, None]:
        """Opens the stream and yields its results. Raises AltClipError, and what the caller's items raise."""
        call = self._connection.open_stream(self._requests(), self._timeout, self._request_id)
        for work in (self._feed, lambda: self._read(call)):
            threading.Thread(target=work, name="altclip-stream", daemon=True).start()
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                for result in event:
                    yield result
                    with self._changed:
                        self._ledger.taken(result)
                        self._changed.notify()
            with self._changed:
                self._ledger.ended(self._request_id)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify()
            self._outgoing.put(None)
            call.cancel()

    def _feed(self) -> None:
        try:
            items = iter(self._items)
            while self._wait_for_room():
                try:
                    given = next(items)
                except StopIteration:
                    break
                self._admit(given)
        except BaseException as error:  # the caller's own; it is raised where the caller waits for results
            self._events.put(error)
        finally:
            self._outgoing.put(None)

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ledger.has_room)
            return not self._stopped

    def _admit(self, given: StreamInput) -> None:
        with self._changed:
            identity, content, index = self._ledger.admit(given)
        try:
            message = item_message(index, content)
        except AltClipError as error:
            with self._changed:
                result = self._ledger.failed_here(identity, index, error)
            self._events.put([result])
            return
        with self._changed:
            self._ledger.sent(identity, message)
        self._outgoing.put(message)

    def _requests(self) -> Iterator[pb.EmbedStreamRequest]:
        yield self._config
        ended = False

        def another() -> pb.StreamItem | None:
            nonlocal ended
            try:
                item = self._outgoing.get_nowait()
            except Empty:
                return None
            ended = item is None
            return item

        while not ended and (first := self._outgoing.get()) is not None:
            yield batch_message(first, another)

    def _read(self, call: Any) -> None:
        try:
            for response in call:
                with self._changed:
                    results = self._ledger.answered(response, self._request_id)
                self._events.put(results)
            self._events.put(None)
        except grpc.RpcError as error:
            self._events.put(self._connection.error(error, self._request_id))
        except Exception as error:  # whatever it is, the caller must not wait for ever
            self._events.put(error)
