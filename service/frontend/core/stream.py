"""One stream of items: read, embed, answer, each at its own pace and all of it bounded. Imports no transport.

    read ─▶ reader ─ chunks of one kind ─▶ embed (many at a time) ─▶ done ─▶ writer ─▶ write
              ▲                                                                │
              └──────────────── room: at most `window` items between ──────────┘

Only the writer makes room. From a client that takes no answers nothing more is read, and other calls do not
notice it. A bad item is an error of that item alone. Items whose worker died are computed once more as soon
as there is another worker, so that a client that streams millions of items need not care. A stream waits for
admission where a unary call would be refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from altclip.tracing import names
from service.frontend.admission.cost import Cost
from service.frontend.api.errors import ENDINGS, Draining, Internal, WorkerUnavailable, from_exception
from service.frontend.api.messages import Options, StreamItem, StreamResults
from service.frontend.calls.call import Call
from service.frontend.core.core import Core
from service.frontend.core.model import Model
from service.frontend.core.stream_items import Chunks
from worker.runtime import logs
from worker.runtime.notices import Modality

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Attributes, Trace

__all__ = ["Session"]

Read = Callable[[], Awaitable[Sequence[StreamItem] | None]]
Write = Callable[[StreamResults], Awaitable[None]]

CHUNK = {Modality.TEXT: 64, Modality.IMAGE: 16}
"""Items that are prepared and computed together: enough to share overhead, few enough to be ready soon."""
WEIGHT = {Modality.TEXT: 1, Modality.IMAGE: 4}
"""How much an item counts in the window: a picture's pixels are larger than a text's tokens."""
MESSAGE_BYTES = 1 << 20
"""About how many bytes of embeddings one answer holds: stock clients accept no message over 4 MiB."""
PATIENCE = 30.0
"""Seconds that a stream waits for a first worker, and that items whose worker died wait for another."""

NOTABLE_WAIT = 0.001
"""Seconds of waiting to be let in that are worth a span."""

_log = logs.get("stream")


class Session:
    """One stream, from its configuration to its end."""

    def __init__(
        self, core: Core, call: Call, name: str, options: Options, *, patience: float = PATIENCE
    ) -> None:
        """patience: seconds to wait for a worker. Raises ModelNotFound, PermissionDenied."""
        self.model: Model = core.model_for(call, name)
        self._core = core
        self._patience = patience
        self._call = call
        self._chunk = Chunks(core, self.model, call, options, patience)
        self._window = core.settings.stream_window
        self._rows_at_once = max(1, MESSAGE_BYTES // (4 * self.model.pool.spec.dimension))
        self._pending = 0
        self._reading = False
        self._ended = False
        """The client has half-closed."""
        self._no_more = False
        self._done: deque[tuple[int, StreamResults]] = deque()
        self._something_done = asyncio.Event()
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, read: Read, write: Write) -> None:
        """Returns when the client has ended its side and has taken all answers.

        Raises Draining when the server shuts down and cannot wait for the client any longer: every message
        that was read has its answers then. Raises it at once where there is no worker. Raises
        WorkerUnavailable when no first worker comes in time.
        """
        if not await self._core.ready(self.model, self._patience):
            raise Draining if self._core.gate.closed else WorkerUnavailable
        reader = asyncio.create_task(self._read(read))
        writer = asyncio.create_task(self._write(write))
        closing = asyncio.create_task(self._drained())
        try:
            await asyncio.wait({reader, writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and self._reading:
                reader.cancel()
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            drained = reader.done() and closing.done() and not self._ended
            if reader.done() and not drained:
                reader.result()
            self._no_more = True
            self._something_done.set()
            await writer
            if drained:
                raise Draining
        finally:
            await stopped([reader, writer, closing, *self._tasks])

    async def _drained(self) -> None:
        await self._core.gate.last_call.wait()

    async def _read(self, read: Read) -> None:
        while not self._core.gate.last_call.is_set():
            self._reading = True
            items = await read()
            self._reading = False
            if items is None:
                self._ended = True
                return
            for kind, chunk in self._chunks(items):
                weight = WEIGHT[kind] * len(chunk)
                while self._pending and self._pending + weight > self._window:
                    self._room.clear()
                    await self._room.wait()
                self._pending += weight
                task = asyncio.create_task(self._work(kind, chunk))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            # The next message is read only when there is room for at least one more item.
            while self._pending >= self._window:
                self._room.clear()
                await self._room.wait()

    def _chunks(self, items: Sequence[StreamItem]) -> list[tuple[Modality, Sequence[StreamItem]]]:
        kinds: dict[Modality, list[StreamItem]] = {Modality.TEXT: [], Modality.IMAGE: []}
        for item in items:
            kinds[Modality.IMAGE if item.image is not None else Modality.TEXT].append(item)
        return [
            (kind, chosen[start : start + size])
            for kind, chosen in kinds.items()
            for size in [max(1, min(CHUNK[kind], self._window // WEIGHT[kind], self._rows_at_once))]
            for start in range(0, len(chosen), size)
        ]

    async def _write(self, write: Write) -> None:
        while True:
            while not self._done:
                if self._no_more and not self._pending:
                    return
                self._something_done.clear()
                await self._something_done.wait()
            weight, results = self._done.popleft()
            while self._done and len(results) + len(self._done[0][1]) <= self._rows_at_once:
                more, others = self._done.popleft()
                weight += more
                results.extend(others)
            await write(results)
            self._pending -= weight
            self._room.set()

    async def _work(self, kind: Modality, items: Sequence[StreamItem]) -> None:
        """Answers all these items, with a row or an error each."""
        try:
            if self._call.trace is None:
                results = await self._results(kind, items)
            else:
                facts: Attributes = {names.MODALITY: kind.label, names.ITEMS: len(items)}
                with self._call.trace.part(names.CHUNK, facts) as trace:
                    results = await self._results(kind, items, trace)
        except ENDINGS:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the stream is over; any other CancelledError is a bug, and an error of the items
            known = from_exception(error)
            if isinstance(known, Internal):
                _log.error(
                    "stream_items_failed", "the server failed to compute items of a stream", error=error
                )
            results = StreamResults(errors=[(item.id, known) for item in items])
        self._done.append((WEIGHT[kind] * len(items), results))
        self._something_done.set()

    async def _results(
        self, kind: Modality, items: Sequence[StreamItem], trace: Trace | None = None
    ) -> StreamResults:
        began = time.monotonic()
        await self._call.grant.spend_in_turn(len(items), self._core.gate.last_call)
        async with self.model.admitted_in_turn(self._call, Cost.of(items)):
            if trace is not None and (admitted := time.monotonic()) - began >= NOTABLE_WAIT:
                trace.add(names.ADMISSION, began, admitted)
            return await self._chunk.embed(kind, items, trace)


async def stopped(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels tasks that still run, and waits for their end. Their failures no longer matter."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
