"""Unary callers: each asks, waits, checks what came, writes it down, and rests a little. Some give up.

steady       never gives up: the server must have counted its calls exactly as it saw them end
fickle       gives up most of its calls, at random moments, some of them too late
burst        many calls at once, more than the queue holds
documented   the client that is documented, with its retries
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc

from altclip import AltClipError, AsyncClient
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.load import Answer, failed
from tests.soak.asks import Ask, draw
from tests.soak.content import Content
from tests.soak.ledger import Ledger, Untold

__all__ = ["BURST", "DOCUMENTED", "FICKLE", "STEADY", "Caller", "burst", "documented", "largest", "unary"]

Stub = Any
"""Of grpc.aio, which has no types for one."""

STEADY, FICKLE, BURST, DOCUMENTED = "steady", "fickle", "burst", "documented"

RETRYABLE = frozenset({"WORKER_UNAVAILABLE", "QUEUE_FULL"})
"""What any call may end with in such trouble; each says when to come again."""
ANY = RETRYABLE | {"DEADLINE_TOO_SHORT"}

GIVES_UP = 0.7
GIVES_UP_SECONDS = 0.06
"""The mean of the time after which a fickle caller gives up; most calls take about as long."""
REST_SECONDS = 0.05
CALLS_A_CONNECTION = 50
"""So that callers find a frontend that came back, and connections end as well as begin."""
PATIENCE = 30.0
"""Seconds: the deadline of a call."""
BURST_CALLS, BURST_TEXTS = 150, 16


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, where, and what is written down."""

    name: str
    address: str
    key: str
    ledger: Ledger
    random: Random

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """With the caller's key."""
        return (("authorization", f"Bearer {self.key}"),)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Stub]:
        """A connection of its own, without retries: one call is one call."""
        options = [
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield EmbeddingServiceStub(channel)

    def failed(self, method: str, error: grpc.aio.AioRpcError) -> Answer | None:
        """Writes down how a call failed; None where the server did not say so."""
        answer = failed(error, time.monotonic())
        if answer.reason:
            self.ledger.told[self.name, method, answer.code] += 1
            self.ledger.reasons[answer.reason] += 1
            if answer.reason in RETRYABLE and not answer.retry:
                self.ledger.surprise(f"{method}: {answer.reason} without RetryInfo")
            return answer
        how: Untold = "deadline" if answer.code == "DEADLINE_EXCEEDED" else "lost"
        self.ledger.untold[self.name, method, how] += 1
        # The client library's own word for a connection that broke while it wrote to a stream.
        broke_in_a_write = (answer.code, error.details()) == ("INTERNAL", "Internal error from Core")
        if answer.code not in ("DEADLINE_EXCEEDED", "UNAVAILABLE") and not broke_in_a_write:
            self.ledger.surprise(f"{method}: {answer.code} without details: {error.details()}")
        return None

    async def call(self, stub: Stub, ask: Ask, gives_up: float | None = None) -> None:
        """One call to its end. gives_up: after so many seconds."""
        call: Any = getattr(stub, ask.method)(ask.request, metadata=self.metadata, timeout=PATIENCE)
        timer = None
        if gives_up is not None:
            self.ledger.asked_to_cancel += 1
            timer = asyncio.get_running_loop().call_later(gives_up, call.cancel)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._refused(ask, self.failed(ask.method, error))
        except asyncio.CancelledError:
            if gives_up is None:
                raise
            self.ledger.untold[self.name, ask.method, "cancelled"] += 1
        else:
            self.ledger.told[self.name, ask.method, "OK"] += 1
            self.ledger.check(ask.right(answer), ask.method)
            for model, modality, count in ask.items:
                self.ledger.answered[model, modality] += count
        finally:
            if timer is not None:
                timer.cancel()

    def _refused(self, ask: Ask, answer: Answer | None) -> None:
        if answer is None or answer.reason in ask.refused | ANY:
            return
        if answer.reason == "UNDECODABLE_IMAGE":
            self.ledger.blamed_on_decoders += 1
        else:
            self.ledger.surprise(f"{ask.method} ended {answer.code} {answer.reason}")


async def unary(caller: Caller, contents: Sequence[Content], stop: asyncio.Event) -> None:
    """Calls one after another until told to stop."""
    random = caller.random
    while not stop.is_set():
        async with caller.connected() as stub:
            for _ in range(CALLS_A_CONNECTION):
                gives_up = None
                if caller.name == FICKLE and random.random() < GIVES_UP:
                    gives_up = random.expovariate(1 / GIVES_UP_SECONDS)
                await caller.call(stub, draw(random.choice(contents), random), gives_up)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), random.expovariate(1 / REST_SECONDS))
                if stop.is_set():
                    return


async def burst(caller: Caller, content: Content) -> None:
    """Many calls at the same moment."""

    async def one(stub: Stub) -> None:
        texts = [content.text(caller.random)[0] for _ in range(BURST_TEXTS)]
        request = pb.EmbedTextRequest(model=content.model, texts=texts)
        items = ((content.model, "text", BURST_TEXTS),)
        await caller.call(
            stub,
            Ask("EmbedText", request, lambda answer: answer.embeddings.count == BURST_TEXTS, items=items),
        )

    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(caller.connected()) for _ in range(6)]
        await asyncio.gather(*(one(stubs[number % len(stubs)]) for number in range(BURST_CALLS)))


async def largest(caller: Caller, content: Content) -> None:
    """Calls of many pictures and prompts: a model's largest batches."""
    files = [pb.Image(content=content.picture(caller.random)[0]) for _ in range(32)]
    texts = [content.text(caller.random)[0] for _ in range(32)]
    asks = [
        Ask("EmbedImage", pb.EmbedImageRequest(model=content.model, images=files), lambda _: True),
        Ask("EncodePrompt", pb.EncodePromptRequest(model=content.model, texts=texts), lambda _: True),
    ]
    async with caller.connected() as stub:
        await asyncio.gather(*(caller.call(stub, ask) for ask in 4 * asks))


async def documented(caller: Caller, content: Content, stop: asyncio.Event) -> None:
    """What somebody sees who uses the documented client."""
    while not stop.is_set():
        async with AsyncClient(caller.address, api_key=caller.key, timeout=PATIENCE) as client:
            for _ in range(CALLS_A_CONNECTION):
                try:
                    await client.embed_text([content.text(caller.random)[0]], model=content.model)
                    ended = "OK"
                except AltClipError as error:
                    ended = type(error).__name__
                caller.ledger.told[caller.name, "EmbedText", ended] += 1
                await asyncio.sleep(caller.random.expovariate(1 / REST_SECONDS / 4))
                if stop.is_set():
                    return
