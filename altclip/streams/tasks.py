"""A stream of the asyncio client: tasks that move items in and results out, as `ledger.Ledger` says.

    caller's items ─▶ feed ─▶ ledger ─▶ send ─▶ server
    caller         ◀─ events         ◀─ read ◀─ server
                                          └─ a call that broke: the next one is opened

What waits on both ways is bounded by the ledger's window.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING

import grpc

from altclip.calls import forking
from altclip.calls.aio_connection import AioConnection
from altclip.errors import AltClipError, Cancelled, DeadlineExceeded
from altclip.inputs import Orientation
from altclip.results import Limits, StreamResult
from altclip.streams.ledger import (
    MESSAGE_ITEMS,
    Ledger,
    StreamInput,
    batch_message,
    check_item,
    is_large,
    item_message,
)
from altclip.v1 import embedding_service_pb2 as pb

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from altclip.tracing.spans import Tracing

STATUS_SECONDS = 5.0
"""How long a status is waited for at most that the server may have sent; it is there, or comes at once."""

Items = AsyncIterable[StreamInput] | Iterable[StreamInput]
Call = grpc.aio.StreamStreamCall[pb.EmbedStreamRequest, pb.EmbedStreamResponse]
# What the reading task says: results, an exception that ends the stream, or None for its proper end.
Event = list[StreamResult] | BaseException | None


class SentStatus:
    """The status that the server sent to end a call.

    Where a write is under way when a call ends, grpc.aio puts "Internal error from Core" in place of the
    status, before or after it arrives. This notes every status that a call is given and keeps the server's.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._error: grpc.RpcError | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._note)

    async def instead_of(self, error: grpc.RpcError) -> grpc.RpcError:
        """The server's status as an error, or `error` where none comes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), STATUS_SECONDS)
        return self._error or error

    def _note(self, _: object) -> None:
        # A call that has a status tells it without waiting, so one step runs this to its end.
        with contextlib.suppress(StopIteration):
            self._read().send(None)

    async def _read(self) -> None:
        code, details = await self._call.code(), await self._call.details()
        if self._error is None and details != "Internal error from Core":
            trailing = await self._call.trailing_metadata()
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)
            self._known.set()


class StreamTasks:
    """One stream; used once."""

    def __init__(
        self,
        ledger: Ledger,
        config: pb.EmbedStreamRequest,
        orientation: Orientation,
        items: Items,
        connection: AioConnection,
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
        self._room = asyncio.Event()
        self._queued = asyncio.Event()
        self._deadline = 0.0
        self._span: Span | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def results(self) -> AsyncGenerator[StreamResult, None]:
        """Opens the stream and yields its results. Raises AltClipError, and what the caller's items raise."""
        tracing = self._connection.endpoint.tracing
        return self._results(None) if tracing is None else self._traced(tracing)

    async def _traced(self, tracing: Tracing) -> AsyncGenerator[StreamResult, None]:
        with tracing.stream("EmbedStream", self._config.config.model, self._request_id) as span:
            async with contextlib.aclosing(self._results(span)) as results:
                async for result in results:
                    yield result

    async def _results(self, span: Span | None) -> AsyncGenerator[StreamResult, None]:
        self._connection.check_loop()
        self._span = span
        self._deadline = time.monotonic() + self._connection.endpoint.seconds(self._timeout)
        call = self._open()
        working = forking.begin()
        tasks = [asyncio.create_task(work) for work in (self._feed(), self._converse(call))]
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                for result in event:
                    yield result
                    self._connection.check_loop()
                    self._ledger.taken(result)
                    self._room.set()
            self._ledger.ended(self._request_id)
        finally:
            if self._connection.on_its_loop:  # on another loop neither the call nor the tasks can be touched
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            forking.end(working)

    async def _feed(self) -> None:
        try:
            items = _as_async(self._items)
            while True:
                while not self._ledger.has_room:
                    self._room.clear()
                    await self._room.wait()
                try:
                    given = await anext(items)
                except StopAsyncIteration:
                    break
                await self._admit(given)
        except Exception as error:  # the caller's own; it is raised where the caller waits for results
            self._events.put_nowait(error)
        self._ledger.all_given = True
        self._queued.set()

    async def _admit(self, given: StreamInput) -> None:
        identity, content, index = self._ledger.admit(given)
        try:
            if not isinstance(content, str | bytes):  # a file to read, or a picture to compress
                message = await asyncio.to_thread(item_message, index, content, self._orientation)
            else:
                message = item_message(index, content, self._orientation)
            if is_large(message):
                check_item(message, await self._limits())
        except AltClipError as error:
            self._events.put_nowait([self._ledger.failed_here(identity, index, error)])
            return
        self._ledger.queue(identity, message)
        self._queued.set()

    async def _limits(self) -> Limits | None:
        try:
            return await self._connection.limits_of(self._config.config.model, None)
        except AltClipError:
            return None  # what is wrong ends the stream itself

    def _open(self) -> Call:
        call: Call = self._connection.open_stream(self._left(), self._request_id, self._span)
        return call

    def _left(self) -> float:
        """Seconds until the stream's time is over. Raises DeadlineExceeded."""
        left = self._deadline - time.monotonic()
        if left < 0:
            raise DeadlineExceeded("the time of the stream is over", request_id=self._request_id)
        return left

    async def _converse(self, call: Call) -> None:
        """Sends and reads, over one call after another where they break."""
        try:
            while (error := await self._exchange(call)) is not None and not self._ledger.finished:
                if self._connection.closed:
                    raise error
                await asyncio.sleep(min(self._ledger.broke(error), self._left()))
                if self._connection.closed:
                    raise Cancelled("the client was closed", request_id=self._request_id)
                call = self._open()
            self._events.put_nowait(None)
        except asyncio.CancelledError:  # the stream is left, or the client was closed under it
            self._events.put_nowait(Cancelled("the client was closed", request_id=self._request_id))
            raise
        except Exception as error:  # whatever it is, the caller must not wait for ever
            self._events.put_nowait(error)

    async def _exchange(self, call: Call) -> AltClipError | None:
        """One call to its end; returns what gRPC reports where that is not the proper one."""
        sending = asyncio.create_task(self._send(call))
        try:
            return await self._read(call)
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, call: Call) -> None:
        rest: pb.StreamItem | None = None
        try:
            await call.write(self._config)
            while (first := rest or await self._next_to_send()) is not None:
                request, rest = batch_message(first, self._ledger.next_to_send)
                await call.write(request)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the call has ended; `_read` knows the status and tells it
        except Exception as error:  # whatever it is, the caller must not wait for ever
            self._events.put_nowait(error)

    async def _next_to_send(self) -> pb.StreamItem | None:
        """Waits for an item to send; None when there will be none."""
        while (item := self._ledger.next_to_send()) is None and not self._ledger.all_given:
            self._queued.clear()
            await self._queued.wait()
        return item

    async def _read(self, call: Call) -> AltClipError | None:
        status = SentStatus(call)
        responses = aiter(call)
        while True:
            try:
                with self._connection.typed_errors(self._request_id):
                    try:
                        response = await anext(responses, None)
                    except grpc.RpcError as error:
                        raise await status.instead_of(error) from error
            except AltClipError as error:
                return error
            if response is None:
                return None
            self._events.put_nowait(self._ledger.answered(response, self._request_id))


async def _as_async(items: Items) -> AsyncIterator[StreamInput]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for number, item in enumerate(items, start=1):
            yield item
            # A list of millions must not keep the loop from everything else, nor make a message of each item.
            if number % MESSAGE_ITEMS == 0:
                await asyncio.sleep(0)
