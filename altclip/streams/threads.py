"""A stream of the blocking client: threads that move items in and results out, as `ledger.Ledger` says.

    caller's items ─▶ feed (thread) ─▶ outgoing ─▶ gRPC's sending thread ─▶ server
    caller         ◀─ events        ◀─ read (thread) ◀──────────────────── server

The feeding thread exists because a message must not wait for an item that the caller has not made yet. Both
queues are bounded by the ledger's window. The threads are daemons and end with the stream, at the latest when
the caller's iterator gives its next item.

When the interpreter exits, streams that are still open are ended first: a daemon thread may be stopped while
it holds a lock, and whatever finalises the stream afterwards would wait for that lock for ever.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from altclip.calls import forking
from altclip.calls.connection import Connection
from altclip.errors import AltClipError, ClientUnusable
from altclip.inputs import Orientation
from altclip.results import Limits, StreamResult
from altclip.streams.ledger import Ledger, StreamInput, batch_message, check_item, is_large, item_message
from altclip.v1 import embedding_service_pb2 as pb

EXIT_SECONDS = 2.0
"""How long the interpreter's exit waits at most for streams that are still open."""

_open: weakref.WeakSet[StreamThreads] = weakref.WeakSet()

# What the reading thread says: results, an exception that ends the stream, or None for its proper end.
Event = list[StreamResult] | BaseException | None


class StreamThreads:
    """One stream; used once."""

    def __init__(
        self,
        ledger: Ledger,
        config: pb.EmbedStreamRequest,
        orientation: Orientation,
        items: Iterable[StreamInput],
        connection: Connection,
        timeout: float | None,
        request_id: str,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._orientation = orientation
        self._items = items
        self._connection = connection
        self._timeout = timeout
        self._request_id = request_id
        self._changed = threading.Condition()  # guards the ledger, and `_stopped`
        self._stopped = False
        self._outgoing: SimpleQueue[pb.StreamItem | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._process = os.getpid()
        self._call: Any = None
        # All that take gRPC's locks for this stream: ours that reads, and gRPC's own that send and receive.
        self._threads: set[threading.Thread] = set()
        self._call_ended = threading.Event()

    def results(self) -> Generator[StreamResult, None, None]:
        """Opens the stream and yields its results. Raises AltClipError, and what the caller's items raise."""
        self._process = os.getpid()
        self._call = self._connection.open_stream(self._requests(), self._timeout, self._request_id)
        self._call.add_done_callback(self._note_end)
        reader = threading.Thread(target=self._read, name="altclip-stream", daemon=True)
        self._threads.add(reader)
        reader.start()
        threading.Thread(target=self._feed, name="altclip-stream", daemon=True).start()
        _open.add(self)
        working = forking.begin()
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                for result in event:
                    yield result
                    self._check_process()
                    with self._changed:
                        self._ledger.taken(result)
                        self._changed.notify()
            with self._changed:
                self._ledger.ended(self._request_id)
        finally:
            self.stop()
            forking.end(working)

    @property
    def is_of_this_process(self) -> bool:
        """Whether its threads are those of this process, not those of a parent that was forked."""
        return self._process == os.getpid()

    def stop(self) -> None:
        """Ends the stream, however far it is."""
        if self._stopped or not self.is_of_this_process or sys.is_finalizing():
            return  # or a thread that is no longer there may hold the locks
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._outgoing.put(None)
        self._call.cancel()
        _open.discard(self)

    def join(self, seconds: float) -> None:
        """Waits until no thread will take a lock of this stream again, but for so long at most."""
        deadline = time.monotonic() + seconds
        self._call_ended.wait(seconds)
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _note_end(self, _: object) -> None:
        self._threads.add(threading.current_thread())  # gRPC's receiving thread
        self._call_ended.set()

    def _check_process(self) -> None:
        if not self.is_of_this_process:
            raise ClientUnusable("a stream cannot go on in a forked process: open a new one there")

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
            message = item_message(index, content, self._orientation)
            if is_large(message):
                check_item(message, self._limits())
        except AltClipError as error:
            with self._changed:
                result = self._ledger.failed_here(identity, index, error)
            self._events.put([result])
            return
        with self._changed:
            self._ledger.sent(identity, message)
        self._outgoing.put(message)

    def _limits(self) -> Limits | None:
        try:
            return self._connection.limits_of(self._config.config.model, None)
        except AltClipError:
            return None  # what is wrong ends the stream itself

    def _requests(self) -> Iterator[pb.EmbedStreamRequest]:
        self._threads.add(threading.current_thread())
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
            rest: pb.StreamItem | None = first
            while rest is not None:
                request, rest = batch_message(rest, another)
                yield request

    def _read(self) -> None:
        try:
            responses = iter(self._call)
            while True:
                with self._connection.typed_errors(self._request_id):
                    response = next(responses, None)
                if response is None:
                    break
                with self._changed:
                    results = self._ledger.answered(response, self._request_id)
                self._events.put(results)
            self._events.put(None)
        except Exception as error:  # whatever it is, the caller must not wait for ever
            self._events.put(error)


@atexit.register
def _end_open_streams() -> None:
    streams = [stream for stream in _open if stream.is_of_this_process]
    for stream in streams:
        stream.stop()
    deadline = time.monotonic() + EXIT_SECONDS
    for stream in streams:
        stream.join(max(0.0, deadline - time.monotonic()))
