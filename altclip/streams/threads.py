"""A stream of the blocking client: threads that move items in and results out, as `ledger.Ledger` says.

    caller's items ─▶ feed (thread) ─▶ ledger ─▶ gRPC's sending thread ─▶ server
    caller         ◀─ events        ◀─ read (thread) ◀────────────────── server
                                         └─ a call that broke: opens the next one

The feeding thread exists because a message must not wait for an item that the caller has not made yet. What
waits on both ways is bounded by the ledger's window. The threads are daemons and end with the stream, at the
latest when the caller's iterator gives its next item.

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
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from altclip.calls import forking
from altclip.calls.connection import Connection
from altclip.errors import AltClipError, Cancelled, ClientUnusable, DeadlineExceeded
from altclip.inputs import Orientation
from altclip.results import Limits, StreamResult
from altclip.streams.ledger import Ledger, StreamInput, batch_message, check_item, is_large, item_message
from altclip.v1 import embedding_service_pb2 as pb

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from altclip.tracing.spans import Tracing

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
        self._changed = threading.Condition()  # guards the ledger, and the three below
        self._stopped = False
        self._call: Any = None
        self._number = 0  # of the call; those before it get nothing more to send
        self._deadline = 0.0
        self._span: Span | None = None
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._process = os.getpid()
        # All that take gRPC's locks for this stream: ours that reads, and gRPC's own that send and receive.
        self._threads: set[threading.Thread] = set()
        self._call_ended = threading.Event()

    def results(self) -> Generator[StreamResult, None, None]:
        """Opens the stream and yields its results. Raises AltClipError, and what the caller's items raise."""
        tracing = self._connection.endpoint.tracing
        return self._results(None) if tracing is None else self._traced(tracing)

    def _traced(self, tracing: Tracing) -> Generator[StreamResult, None, None]:
        with tracing.stream("EmbedStream", self._config.config.model, self._request_id) as span:
            yield from self._results(span)

    def _results(self, span: Span | None) -> Generator[StreamResult, None, None]:
        self._process = os.getpid()
        self._span = span
        self._deadline = time.monotonic() + self._connection.endpoint.seconds(self._timeout)
        self._call = self._open()
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
                        self._changed.notify_all()
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
            self._changed.notify_all()
        self._call.cancel()
        _open.discard(self)

    def join(self, seconds: float) -> None:
        """Waits until no thread will take a lock of this stream again, but for so long at most."""
        deadline = time.monotonic() + seconds
        self._call_ended.wait(seconds)
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _open(self) -> Any:
        """Opens a call that sends what waits in the ledger."""
        ended = self._call_ended = threading.Event()

        def note_end(_: object) -> None:
            self._threads.add(threading.current_thread())  # gRPC's receiving thread
            ended.set()

        requests = self._requests(self._number)
        call = self._connection.open_stream(requests, self._left(), self._request_id, self._span)
        call.add_done_callback(note_end)
        return call

    def _open_next(self, error: AltClipError) -> None:
        """Opens the call that goes on in place of one that broke. Raises `error` where that cannot help."""
        with self._changed:
            if self._stopped or self._connection.closed:
                raise error
            pause = min(self._ledger.broke(error), self._left())
            self._number += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped, pause)
        self._check_open()
        self._call_ended.wait(EXIT_SECONDS)
        for thread in [*self._threads]:
            if not thread.is_alive():
                self._threads.discard(thread)
        self._take(self._open())

    def _take(self, call: Any) -> None:
        with self._changed:
            self._call = call
            if self._stopped:  # before this call was known
                call.cancel()

    def _left(self) -> float:
        """Seconds until the stream's time is over. Raises DeadlineExceeded."""
        left = self._deadline - time.monotonic()
        if left < 0:
            raise DeadlineExceeded("the time of the stream is over", request_id=self._request_id)
        return left

    def _check_open(self) -> None:
        if self._connection.closed:
            raise Cancelled("the client was closed", request_id=self._request_id)

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
            with self._changed:
                self._ledger.all_given = True
                self._changed.notify_all()

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
            self._ledger.queue(identity, message)
            self._changed.notify_all()

    def _limits(self) -> Limits | None:
        try:
            return self._connection.limits_of(self._config.config.model, None)
        except AltClipError:
            return None  # what is wrong ends the stream itself

    def _requests(self, number: int) -> Iterator[pb.EmbedStreamRequest]:
        """What the call of this number sends."""
        self._threads.add(threading.current_thread())
        yield self._config
        rest: pb.StreamItem | None = None
        while (first := rest or self._next_to_send(number)) is not None:
            request, rest = batch_message(first, lambda: self._at_hand(number))
            yield request

    def _next_to_send(self, number: int) -> pb.StreamItem | None:
        """Waits for an item to send; None when this call has nothing more to send."""
        with self._changed:
            while (item := self._at_hand(number)) is None:
                if self._number != number or self._stopped or self._ledger.all_given:
                    return None
                self._changed.wait()
            return item

    def _at_hand(self, number: int) -> pb.StreamItem | None:
        with self._changed:  # which its own thread may enter again
            return self._ledger.next_to_send() if self._number == number else None

    def _read(self) -> None:
        try:
            while (error := self._read_call()) is not None and not self._is_finished():
                self._open_next(error)
            self._events.put(None)
        except Exception as error:  # whatever it is, the caller must not wait for ever
            self._events.put(error)

    def _read_call(self) -> AltClipError | None:
        """Reads a call to its end; returns what gRPC reports where that is not the proper one."""
        responses = iter(self._call)
        while True:
            try:
                with self._connection.typed_errors(self._request_id):
                    response = next(responses, None)
            except AltClipError as error:
                return error
            if response is None:
                return None
            with self._changed:
                results = self._ledger.answered(response, self._request_id)
            self._events.put(results)

    def _is_finished(self) -> bool:
        with self._changed:
            return self._ledger.finished


@atexit.register
def _end_open_streams() -> None:
    streams = [stream for stream in _open if stream.is_of_this_process]
    for stream in streams:
        stream.stop()
    deadline = time.monotonic() + EXIT_SECONDS
    for stream in streams:
        stream.join(max(0.0, deadline - time.monotonic()))
