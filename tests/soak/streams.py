"""Streams, interactive and bulk: every id must come back once, with its own row or the error that is due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
import numpy as np

from altclip.v1 import embedding_service_pb2 as pb
from tests.load import details_of
from tests.soak.content import POISON, Content, Floats, rows_of
from tests.soak.plan import STUB
from tests.soak.traffic import ANY, FICKLE, Caller

__all__ = ["streams"]

METHOD = "EmbedStream"
MESSAGES, MOST_ITEMS = (2, 8), 60
BAD = 0.02
"""The share of items that cannot be embedded."""
SLOW = 0.25
"""The share of streams whose client takes its answers slowly."""
SLOW_SECONDS = 0.3
GIVES_UP_SECONDS = 0.4
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """row: what must come back; refused: the reason of the error that must come in its place."""

    kind: str
    row: Floats
    refused: str = ""


@dataclass(slots=True)
class Books:
    """One stream's: what was sent and is still owed, by id."""

    owed: dict[str, Sent] = field(default_factory=dict)
    number: int = 0

    def batch(self, content: Content, random: Random) -> pb.EmbedStreamRequest:
        """Some more items."""
        items = []
        for _ in range(random.randint(1, MOST_ITEMS)):
            name = str(self.number)
            self.number += 1
            item, sent = self._item(name, content, random)
            self.owed[name] = sent
            items.append(item)
        return pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))

    def _item(self, name: str, content: Content, random: Random) -> tuple[pb.StreamItem, Sent]:
        bad = random.random() < BAD
        if random.random() < 0.1:
            file, row = content.picture(random)
            file = file[: len(file) // 3] if bad else file
            refused = "UNDECODABLE_IMAGE" if bad else ""
            return pb.StreamItem(id=name, image=pb.Image(content=file)), Sent("image", row, refused)
        text, row = content.text(random)
        if not bad:
            return pb.StreamItem(id=name, text=text), Sent("text", row)
        if content.model == STUB:
            return pb.StreamItem(id=name, text=f"{text} {POISON}"), Sent("text", row, "INTERNAL")
        return pb.StreamItem(id=name), Sent("text", row, "INVALID_REQUEST")


async def streams(caller: Caller, contents: Sequence[Content], stop: asyncio.Event) -> None:
    """Streams one after another until told to stop."""
    random = caller.random
    while not stop.is_set():
        async with caller.connected() as stub:
            await _Stream(caller, random.choice(contents)).run(stub)
        await asyncio.sleep(random.uniform(0.0, 0.2))


class _Stream:
    """One stream, written and read at the same time."""

    def __init__(self, caller: Caller, content: Content) -> None:
        self._caller = caller
        self._content = content
        self._books = Books()
        self._slow = caller.random.random() < SLOW

    async def run(self, stub: Any) -> None:
        caller, random = self._caller, self._caller.random
        call = stub.EmbedStream(metadata=caller.metadata, timeout=PATIENCE)
        gives_up = caller.name == FICKLE and random.random() < 0.5
        timer = None
        if gives_up:
            caller.ledger.asked_to_cancel += 1
            seconds = random.expovariate(1 / GIVES_UP_SECONDS)
            timer = asyncio.get_running_loop().call_later(seconds, call.cancel)
        try:
            writer = asyncio.create_task(self._write(call))
            await self._read(call)
            writer.cancel()  # to a call that was given up before it began, a write never returns
            await asyncio.wait([writer])
            code = await call.code()
        finally:
            if timer is not None:
                timer.cancel()
        if code is grpc.StatusCode.OK:
            caller.ledger.told[caller.name, METHOD, "OK"] += 1
            caller.ledger.check(not self._books.owed, f"a stream owed {len(self._books.owed)} items")
        elif code is grpc.StatusCode.CANCELLED and gives_up:
            caller.ledger.untold[caller.name, METHOD, "cancelled"] += 1
        else:
            answer = caller.failed(METHOD, await _error(call, code))
            if answer is not None and answer.reason not in ANY:
                caller.ledger.surprise(f"{METHOD} ended {answer.code} {answer.reason}")

    async def _write(self, call: Any) -> None:
        random = self._caller.random
        priority = random.choice((pb.PRIORITY_BULK, pb.PRIORITY_INTERACTIVE))
        config = pb.StreamConfig(model=self._content.model, priority=priority)
        try:
            await call.write(pb.EmbedStreamRequest(config=config))
            for _ in range(random.randint(*MESSAGES)):
                await call.write(self._books.batch(self._content, random))
                await asyncio.sleep(random.expovariate(1 / 0.05))
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
            pass  # it has ended; how, the reader says

    async def _read(self, call: Any) -> None:
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                self._take(answer)
                if self._slow:
                    await asyncio.sleep(SLOW_SECONDS)
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass  # its code says how it ended

    def _take(self, answer: pb.EmbedStreamResponse) -> None:
        ledger, model = self._caller.ledger, self._content.model
        sent = [self._books.owed.pop(name, None) for name in answer.ids]
        rows = rows_of(answer.embeddings)
        right = len(rows) == len(sent) and all(
            each is not None
            and not each.refused
            and bool(np.allclose(row, each.row, rtol=0, atol=self._content.tolerance))
            for each, row in zip(sent, rows, strict=True)
        )
        if sent:
            ledger.check(right, METHOD)
        for each in sent:
            if each is not None:
                ledger.answered[model, each.kind] += 1
        ledger.streamed["ok"] += len(sent)
        for error in answer.errors:
            reason = details_of(error.status)[0].reason
            ledger.streamed[reason] += 1
            owed = self._books.owed.pop(error.id, None)
            if owed is None:
                ledger.surprise(f"{METHOD}: an error of an id that is not owed")
            elif reason == "UNDECODABLE_IMAGE" and not owed.refused:
                ledger.blamed_on_decoders += 1
            elif reason not in {owed.refused, *ANY}:
                ledger.surprise(f"{METHOD}: an item ended {reason}, not {owed.refused or 'well'}")


async def _error(call: Any, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
