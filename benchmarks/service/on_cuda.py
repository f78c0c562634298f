"""The service on a CUDA device: calls of many texts against the engine alone, and what one text waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import numpy as np

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks import inputs
from benchmarks.calls import text_requests, unary
from benchmarks.engine.cuda_device import ahead, batches_of, seconds_of, typical
from benchmarks.load import closed_loop
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import start_server
from worker.families import family
from worker.families.altclip.encoder import AltClipEncoder
from worker.spec import ModelSpec

__all__ = ["rows"]

SERVED, A_CALL, IN_FLIGHT, CONNECTIONS, FRONTENDS = 16_384, 128, 32, 16, 4


def rows(spec: ModelSpec, encoder: AltClipEncoder, budget: int, rounds: int) -> list[Row]:
    """Calls of many texts each, as bulk jobs send them, against the same encoder in this process, offline,
    with the same batches' budget. They take turns on the device."""
    words = inputs.texts(SERVED, 0)
    calls = [words[first : first + A_CALL] for first in range(0, SERVED, A_CALL)]
    messages = [pb.EmbedTextRequest(texts=call).SerializeToString() for call in calls]
    ids = [tokens.ids for tokens in family("altclip").tokenizer(spec).encode(words)]
    batches = batches_of(ids, budget)
    model = ("--model", f"full-size={spec.directory}", "--device", "cuda", "--batch-tokens", str(budget))
    with start_server(*model, "--frontends", str(FRONTENDS), ready_seconds=180) as server:

        def served() -> float:
            async def run() -> float:
                async with AsyncExitStack() as open_calls:
                    calls = [
                        await open_calls.enter_async_context(unary(server.grpc, "EmbedText", messages))
                        for _ in range(CONNECTIONS)
                    ]

                    async def call(number: int) -> None:
                        await calls[number % CONNECTIONS](number)

                    return (await closed_loop(call, len(messages), IN_FLIGHT)).rate * A_CALL

            return asyncio.run(run())

        def offline() -> float:
            launches = [partial(encoder.text, batch) for batch in batches]
            return SERVED / seconds_of(lambda: ahead(launches))

        served()
        many = measured(partial(_many_rows, budget), served, offline, rounds=rounds)
        single = text_requests(words)

        def one_at_a_time() -> float:
            async def run() -> float:
                async with unary(server.grpc, "EmbedText", single) as call:
                    return (await closed_loop(call, 200, 1)).latency(0.5)

            return asyncio.run(run())

        one = measured(
            _one_rows, one_at_a_time, partial(typical, partial(encoder.text, ids[:1])), rounds=rounds
        )
    return [*many, *one]


def _many_rows(budget: int, answered: Sequence[float], alone: Sequence[float]) -> list[Row]:
    return [
        Row(
            f"service on CUDA, calls of {A_CALL} texts, {IN_FLIGHT} in flight",
            f"the engine alone, offline, {budget} tokens a batch",
            ratios(answered, alone),
            bar=0.97,
            facts={
                "texts/s": float(np.median(answered)),
                "alone, texts/s": float(np.median(alone)),
                "frontends": float(FRONTENDS),
            },
        )
    ]


def _one_rows(waits: Sequence[float], engine: Sequence[float]) -> list[Row]:
    return [
        Row(
            "service on CUDA, one text at a time: latency",
            "the engine alone",
            ratios(waits, engine),
            bar=1.6,
            at_most=True,
            facts={"ms": float(np.median(waits)) * 1e3, "alone, ms": float(np.median(engine)) * 1e3},
        )
    ]
